ln -s file link
ln -s folder link-to-folder
ln -s y folder/inner-link
ln -s /etc/passwd folder/absolute-link
ln -s missing folder/dangling
mkdir plain-folder; echo z > plain-folder/z; ln -s z plain-folder/link; ln -s plain-folder plain-link
