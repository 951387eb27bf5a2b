mkdir -p linked
echo x > linked/one; ln linked/one linked/two; ln linked/one linked/three
