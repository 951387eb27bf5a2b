truncate -s 5M sparse; printf middle | dd of=sparse bs=1 seek=2000000 conv=notrunc 2>/dev/null
