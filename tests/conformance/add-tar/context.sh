mkdir -p t/dir/sub
echo one > t/one
echo two > t/dir/sub/two
chmod 4750 t/one
ln -s one t/link
ln t/one t/hard
ln -s /etc/passwd t/absolute
chown 12:34 t/dir
touch -h -d '2019-05-05 05:05:05 UTC' t t/* t/dir/sub t/dir/sub/*
tar -C t -cf plain.tar .
tar -C t -czf gzip.tar.gz .
cp gzip.tar.gz misnamed
python3 - <<'END'
import bz2
tar = open("plain.tar", "rb").read()
open("bzip2.tar.bz2", "wb").write(bz2.compress(tar))
END
zstd -q -o zstd.tar.zst plain.tar
echo 'not a tar' > text.tar
echo 'not a tar' | gzip -n > text.gz
rm -r t
