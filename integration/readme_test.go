package integration_test

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/kmsfs/kmsfs/integration/lab"
)

// snippet is the block of the README behind a marker.
func snippet(t *testing.T, marker string) string {
	t.Helper()
	_, rest, ok := strings.Cut(read(t, "../README.md"), "<!-- "+marker+" -->\n```")
	_, rest, _ = strings.Cut(rest, "\n")
	text, _, end := strings.Cut(rest, "\n```")
	if !ok || !end {
		t.Fatalf("the README has no block %q", marker)
	}
	return text + "\n"
}

// The policy allows what a mount calls, and nothing else, on exact keys.
func TestReadmePolicy(t *testing.T) {
	var policy struct {
		Version   string
		Statement []struct {
			Effect           string
			Action, Resource []string
		}
	}
	if err := json.Unmarshal([]byte(snippet(t, "ram policy")), &policy); err != nil {
		t.Fatal(err)
	}
	if policy.Version != "1" || len(policy.Statement) != 1 || policy.Statement[0].Effect != "Allow" {
		t.Fatalf("%+v", policy)
	}
	arn := regexp.MustCompile(`^acs:kms:[a-z0-9-]+:[0-9]{16}:key/[0-9a-f-]{36}$`)
	for _, r := range policy.Statement[0].Resource {
		if !arn.MatchString(r) {
			t.Errorf("%s is not the ARN of one key", r)
		}
	}
	l := newLab(t)
	m := mount(t, l, "", "keys="+lab.Alias, "ttl=1s")
	put(t, m.source("a.cipher"), seal(t, l, "a"))
	if err := l.ResetCalls(); err != nil {
		t.Fatal(err)
	}
	if got := read(t, m.path("a")); got != "a" {
		t.Fatalf("reads %q", got)
	}
	calls, err := l.Calls()
	if err != nil {
		t.Fatal(err)
	}
	var made []string
	for action := range calls {
		made = append(made, "kms:"+action)
	}
	slices.Sort(made)
	if allowed := slices.Sorted(slices.Values(policy.Statement[0].Action)); !slices.Equal(made, allowed) {
		t.Errorf("a mount calls %v, the policy allows %v", made, allowed)
	}
}

// The rule lets the service's cgroup reach the metadata address and nobody
// else. Network and cgroups are the test's own.
func TestReadmeFirewall(t *testing.T) {
	needMount(t)
	program(t, "nft")
	dir := t.TempDir()
	put(t, filepath.Join(dir, "rule"), snippet(t, "nftables"))
	script := `set -e
cd "$1"
ip link set lo up
ip addr add 100.100.100.200/32 dev lo
mkdir cg
mount -t cgroup2 none cg
slice=cg/system.slice/system-kmsfs.slice
for s in kmsfs@certs other; do mkdir -p $slice/$s.service; done
mount --bind cg /sys/fs/cgroup
nft -f rule
printf 'daemon off; pid %s/pid; error_log %s/error.log; events {} http { access_log off; client_body_temp_path %s/t1; proxy_temp_path %s/t2; fastcgi_temp_path %s/t3; uwsgi_temp_path %s/t4; scgi_temp_path %s/t5; server { listen 100.100.100.200:80; return 200 token; } }' "$1" "$1" "$1" "$1" "$1" "$1" "$1" > nginx.conf
"$2" -p "$1" -c "$1/nginx.conf" &
server=$!
trap 'kill $server; wait $server; rmdir $slice/kmsfs@certs.service $slice/other.service $slice cg/system.slice; umount /sys/fs/cgroup cg' EXIT
ask() { s=$1; shift; sh -c 'echo $$ > "$0"; exec curl --silent --max-time 5 "$@" http://100.100.100.200/' $slice/$s.service/cgroup.procs "$@" > $s || true; }
ask kmsfs@certs --retry 50 --retry-connrefused --retry-max-time 10
ask other
`
	cmd := exec.Command("unshare", "--net", "--mount", "bash", "-c", script, "bash", dir, program(t, "nginx"))
	cmd.Env = []string{"PATH=" + os.Getenv("PATH") + ":/usr/sbin:/sbin"}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if got := read(t, dir+"/kmsfs@certs"); got != "token" {
		t.Errorf("the service got %q", got)
	}
	if got := read(t, dir+"/other"); got != "" {
		t.Errorf("somebody else got %q", got)
	}
}
