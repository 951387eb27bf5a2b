mkdir folder; mkfifo folder/pipe; echo x >folder/x
mknod folder/null c 1 3
