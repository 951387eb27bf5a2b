chown -R 33:44 tree; chmod 2755 tree/sub; ln -s y tree/sub/link
