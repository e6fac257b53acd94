# nginx.sh DIRECTIVES COMMANDS: runs the commands while an nginx with the
# directives in its http block serves on the socket $O/s. nginx.sh -t
# DIRECTIVES only tests them.
set -eu

test_only=
if [ "$1" = -t ]; then
	test_only=-t
	shift
fi
mkdir "$O/nginx"
cat >"$O/nginx/conf" <<END
daemon off; user root; worker_processes 1; pid $O/nginx/pid; error_log stderr crit;
events {}
http {
  access_log off; default_type text/plain;
  client_body_temp_path $O/nginx/b; proxy_temp_path $O/nginx/p; fastcgi_temp_path $O/nginx/f; uwsgi_temp_path $O/nginx/u; scgi_temp_path $O/nginx/s;
  $1
}
END
nginx="setpriv --pdeathsig TERM nginx -p $O/nginx -c $O/nginx/conf"
if [ -n "$test_only" ]; then
	$nginx -t
	rm -r "$O/nginx"
	exit
fi

$nginx &
server=$!
trap 'kill $server; wait $server; rm -rf "$O/nginx" "$O/s"' EXIT
curl="curl -sS --unix-socket $O/s"
# Any answer will do, also that this is not the right protocol.
until curl -s -o "$O/nginx/ready" --unix-socket "$O/s" http://localhost/ready; do
	kill -0 $server
	sleep 0.01
done
eval "$2" | sed '/^Date: /d'
