mkdir -m 751 folder; mkdir -m 700 folder/private; echo x >folder/private/x; chmod 600 folder/private/x
