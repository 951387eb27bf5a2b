mkdir -p with/folder
echo x > with/user
python3 - <<'END'
import io, os, tarfile
os.setxattr("with/user", "user.note", b"noted")
os.setxattr("with/folder", "user.folder", b"f")
capability = bytes.fromhex("0100000200040000000000000000000000000000").decode("latin-1")
with tarfile.open("capable.tar", "w", format=tarfile.PAX_FORMAT) as tar:
    entry = tarfile.TarInfo("capable")
    entry.mode, entry.size, entry.mtime = 0o755, 4, 1500000000
    entry.pax_headers = {"SCHILY.xattr.security.capability": capability, "SCHILY.xattr.user.tar": "value"}
    tar.addfile(entry, io.BytesIO(b"code"))
END
