chmod 640 file
chmod 750 folder
chmod 700 folder/sub
mkdir folder/empty
chmod 1777 folder/empty
