package programs_test

// secretPrograms read keys, certificates and passwords.
var secretPrograms = []programRun{
	{name: "openssl pkey", script: `openssl pkey -in key.pem -noout -check; openssl pkey -in ec.pem -pubout`},
	{name: "openssl rsa", script: `openssl rsa -in key.pem -check -traditional; openssl rsa -in key.pem -noout -modulus`},
	{name: "openssl ec", script: `openssl ec -in ec.pem -text -noout`},
	{name: "openssl x509", script: `openssl x509 -in cert.pem -noout -text; openssl x509 -in cert.pem -fingerprint -sha256 -noout`},
	{name: "openssl req", script: `openssl req -new -key key.pem -subj /CN=localhost -sha256 | openssl req -verify -noout -text 2>&1`},
	{name: "openssl verify", script: `openssl verify -CAfile cert.pem cert.pem; openssl verify -CAfile cert.pem -purpose sslserver cert.pem`},
	{name: "openssl dgst", script: `openssl dgst -sha256 app.conf longest; openssl dgst -sha256 -sign key.pem longest | openssl dgst -sha256 -verify <(openssl pkey -in key.pem -pubout) -signature /dev/stdin longest`},
	{name: "openssl pkcs12", script: `openssl pkcs12 -export -inkey key.pem -in cert.pem -passout file:passphrase | openssl pkcs12 -passin file:passphrase -nodes`},
	{name: "openssl enc", script: `openssl enc -aes-256-cbc -pbkdf2 -S 0011223344556677 -pass file:passphrase -in longest -base64; openssl enc -aes-256-cbc -pbkdf2 -pass file:passphrase -in longest | openssl enc -d -aes-256-cbc -pbkdf2 -pass file:passphrase | cksum`},
	{name: "openssl crl2pkcs7", script: `openssl crl2pkcs7 -nocrl -certfile cert.pem | openssl pkcs7 -print_certs`},
	{name: "openssl storeutl", script: `openssl storeutl -noout -text -certs cert.pem; openssl storeutl -keys key.pem`},
	{name: "ssh-keygen -y", script: `ssh-keygen -y -f id_ed25519; ssh-keygen -y -f key.pem`},
	{name: "ssh-keygen -l", script: `ssh-keygen -l -f id_ed25519; ssh-keygen -l -v -f key.pem`},
	{name: "ssh-keygen -Y sign", script: `ssh-keygen -Y sign -q -f id_ed25519 -n file <longest >"$O/signature"; ssh-keygen -Y check-novalidate -n file -s "$O/signature" <longest`},
	{name: "ssh-add", script: `ssh-agent bash -ec 'ssh-add -q id_ed25519; ssh-add -q key.pem; ssh-add -l'`},
	{name: "ssh -G", script: `echo "IdentityFile $D/id_ed25519" >"$O/config"; ssh -G -F "$O/config" localhost | grep ^identityfile; rm "$O/config"`},
	{name: "curl of a file", script: `curl -sS "file://$D/longest"; curl -sS -r 6100- "file://$D/longest"; curl -sS -I "file://$D/longest"`},
	{name: "curl that uploads", script: `curl -sS -T longest "file://$O/longest"; curl -sS -T blank "file://$O/blank"`},
	{name: "curl -K", script: `curl -K curlrc "file://$D/app.conf"`},
}

// serverPrograms serve, or talk to who serves.
var serverPrograms = []programRun{
	{name: "openssl s_server", script: `
		: >"$O/server"
		openssl s_server -www -accept 127.0.0.1:0 -key key.pem -cert cert.pem -naccept 1 >>"$O/server" 2>&1 & server=$!
		trap 'kill $server 2>/dev/null || true' EXIT
		until address=$(sed -n 's/^ACCEPT //p' "$O/server") && test -n "$address"; do kill -0 $server; sleep 0.01; done
		openssl s_client -connect "$address" -CAfile cert.pem -servername localhost -verify_return_error </dev/null 2>/dev/null | grep -oE '^(subject|issuer|New).*|Verify return code.*' | sort -u
		wait $server || true; rm "$O/server"`},
	{name: "nginx -t", script: `bash "$H/nginx.sh" -t "
		server { listen unix:$O/s ssl; ssl_certificate $D/cert.pem; ssl_certificate_key $D/key.pem; include $D/nginx.inc; }" 2>&1`},
	{name: "nginx serves files", script: `bash "$H/nginx.sh" "server { listen unix:$O/s; root $D; }" "
		for f in longest app.conf blank page sub/deep/file nothing; do \$curl -i http://localhost/\$f; done; \$curl -I http://localhost/longest; \$curl -r 6100- http://localhost/longest"`},
	{name: "nginx serves files with sendfile", script: `bash "$H/nginx.sh" "sendfile on; tcp_nopush on; server { listen unix:$O/s; root $D; }" "
		for f in longest app.conf blank page sub/deep/file nothing; do \$curl -i http://localhost/\$f; done; \$curl -I http://localhost/longest; \$curl -r 6100- http://localhost/longest"`},
	{name: "nginx with gzip and open_file_cache", script: `bash "$H/nginx.sh" "gzip on; gzip_types *; open_file_cache max=100; server { listen unix:$O/s; root $D; }" "
		for i in 1 2 3; do \$curl --compressed http://localhost/longest; done; \$curl http://localhost/app.conf"`},
	{name: "nginx includes", script: `bash "$H/nginx.sh" "server { listen unix:$O/s; include $D/nginx*.inc; location / { return 404; } }" "
		\$curl -i http://localhost/included; \$curl -i http://localhost/"`},
	{name: "nginx and curl with keys", script: `bash "$H/nginx.sh" "server { listen unix:$O/s ssl; ssl_certificate $D/cert.pem; ssl_certificate_key $D/key.pem;
		ssl_client_certificate $D/cert.pem; ssl_verify_client on; include $D/nginx.inc; location / { return 200 \"\\\$ssl_client_verify \\\$ssl_client_s_dn\"; } }" "
		\$curl -i --cacert cert.pem --cert cert.pem --key key.pem https://localhost/; \$curl --cacert cert.pem --cert cert.pem --key key.pem https://localhost/included
		\$curl --cacert cert.pem https://localhost/"`},
	{name: "nginx and curl with a password", script: `bash "$H/nginx.sh" "server { listen unix:$O/s; location / { return 200 \"\\\$http_authorization \\\$content_length\"; } }" "
		\$curl --netrc-file netrc http://localhost/; \$curl -H @sorted -d @app.json http://localhost/; \$curl --data-binary @longest http://localhost/; \$curl -T longest http://localhost/"`},
	{name: "nginx passwords from a file", script: `bash "$H/nginx.sh" "server { listen unix:$O/s; location / { auth_basic x; auth_basic_user_file $D/netrc; root $D; } }" "\$curl -i http://localhost/app.conf"`},
}
