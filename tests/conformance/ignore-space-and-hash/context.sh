mkdir -p a/b/c a/x d/a src/deep node/m empty
for f in top.txt top.log a/one.txt a/b/two.txt a/b/c/three.log a/x/four.txt d/a/five.txt src/main.rs src/deep/mod.rs node/m/index.js 'with space' '!bang' '#hash'; do echo "$f" >"$f"; done
ln -s a link-to-a; ln -s top.txt link-to-file
