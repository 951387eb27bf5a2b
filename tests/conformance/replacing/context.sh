mkdir -p link-folder/sub
ln -s target link-folder/sub/link; echo t > link-folder/sub/target
