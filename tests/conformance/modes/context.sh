for mode in 000 444 755 4755 2755 6711; do echo x > f$mode; chmod $mode f$mode; done
cp f755 setuid; chmod 4755 setuid
mkdir d1777 d2775; chmod 1777 d1777; chmod 2775 d2775
