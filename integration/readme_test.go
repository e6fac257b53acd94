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

	"github.com/kmsfs/kmsfs/integration/harness"
	"github.com/kmsfs/kmsfs/integration/lab"
)

// The first walk works pasted into an empty directory, by a shell that stops at
// the first error, with a key of either generation.
func TestReadmeYourKeyWorksPasted(t *testing.T) {
	harness.NeedMount(t)
	for _, generation := range []string{"1", "3"} {
		l := harness.NewLab(t, "--generation", generation)
		dir := t.TempDir()
		script := strings.ReplaceAll(harness.ReadmeBlock(t, "your key"), "/run/certs", filepath.Join(dir, "run/certs"))
		if strings.Count(script, "mkdir ") != 2 {
			t.Errorf("the walk is\n%s", script)
		}
		cmd := exec.Command("bash", "-euo", "pipefail", "-c", script)
		cmd.Dir = dir
		cmd.Env = append(l.Env("KMSFS_ALLOW_EMULATOR=1"), "PATH="+l.Bin+":"+os.Getenv("PATH"))
		// A mount takes an emulator only by its option.
		cmd.Env = append(cmd.Env, "BASH_ENV="+filepath.Join(dir, "env"))
		harness.Put(t, filepath.Join(dir, "env"), `kmsfs() { if [ "$1" = mount ]; then command kmsfs "$@" -o allow_emulator; else command kmsfs "$@"; fi; }`)
		os.Remove(filepath.Join(dir, ".put"))
		out, err := cmd.CombinedOutput()
		if err != nil || !strings.Contains(string(out), "Key is valid") || !strings.Contains(string(out), " key.pem\n") {
			t.Errorf("generation %s: %v\n%s", generation, err, out)
		}
		left, err := os.ReadDir(filepath.Join(dir, "run/certs"))
		if err != nil || len(left) > 0 {
			t.Errorf("the mountpoint still has %v, %v", left, err)
		}
	}
}

// The mount of an instance's endpoint, whose name leads to the emulator, and
// whose authority is no other's.
func TestReadmeInstanceEndpointWorks(t *testing.T) {
	harness.NeedMount(t)
	const name = "kst-hzz62f1cb66fa42qo0exa.cryptoservice.kms.aliyuncs.com"
	l, _ := harness.NewLabGeneration3(t, "--instance-listen", "127.0.0.1:443", "--instance-san", name, "--internet-access", "off")
	dir := t.TempDir()
	if err := os.Mkdir(dir+"/certs", 0o700); err != nil {
		t.Fatal(err)
	}
	if err := l.SetInternetAccess(true); err != nil {
		t.Fatal(err)
	}
	harness.Put(t, dir+"/certs/key.pem.cipher", harness.Seal(t, l, "secret"))
	if err := l.SetInternetAccess(false); err != nil {
		t.Fatal(err)
	}
	line := strings.NewReplacer("/run/certs", dir+"/mnt", "/etc/kmsfs/instance-ca.pem", l.InstanceCAFile).Replace(strings.TrimSpace(harness.ReadmeBlock(t, "instance")))
	script := "set -e\numask 022\necho 127.0.0.1 " + name + " >hosts\nmount --bind hosts /etc/hosts\nmkdir mnt\n" + line + ",allow_emulator\ncat mnt/key.pem\nkmsfs umount mnt\n"
	cmd := exec.Command("unshare", "--mount", "bash", "-c", script)
	cmd.Dir = dir
	cmd.Env = []string{"PATH=" + l.Bin + ":" + os.Getenv("PATH"), "HOME=" + dir, "ALIBABA_CLOUD_ECS_METADATA_DISABLED=true"}
	for _, v := range l.Env() {
		if strings.HasPrefix(v, "ALIBABA_CLOUD_ACCESS_KEY") {
			cmd.Env = append(cmd.Env, v)
		}
	}
	if out, err := cmd.CombinedOutput(); err != nil || !strings.HasSuffix(string(out), "secret") {
		t.Errorf("%v\n%s", err, out)
	}
}

// The policy allows what a mount calls, and nothing else, on exact keys.
func TestReadmePolicyAllowsWhatAMountCalls(t *testing.T) {
	var policy struct {
		Version   string
		Statement []struct {
			Effect           string
			Action, Resource []string
		}
	}
	if err := json.Unmarshal([]byte(harness.ReadmeBlock(t, "ram policy")), &policy); err != nil {
		t.Fatal(err)
	}
	if policy.Version != "1" || len(policy.Statement) != 1 || policy.Statement[0].Effect != "Allow" {
		t.Fatalf("%+v", policy)
	}
	arn := regexp.MustCompile(`^acs:kms:[a-z0-9-]+:[0-9]{16}:key/([0-9a-f-]{36}|key-[0-9a-z]{20,22})$`)
	for _, r := range policy.Statement[0].Resource {
		if !arn.MatchString(r) {
			t.Errorf("%s is not the ARN of one key", r)
		}
	}
	l := harness.NewLab(t)
	m := harness.Mount(t, l, "", "keys="+lab.Alias, "ttl=1s")
	harness.Put(t, m.InSource("a.cipher"), harness.Seal(t, l, "a"))
	if err := l.ResetCalls(); err != nil {
		t.Fatal(err)
	}
	if got := harness.Read(t, m.Path("a")); got != "a" {
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
func TestReadmeFirewallLetsTheServiceAlone(t *testing.T) {
	harness.NeedMount(t)
	harness.Program(t, "nft")
	dir := t.TempDir()
	harness.Put(t, filepath.Join(dir, "rule"), harness.ReadmeBlock(t, "nftables"))
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
	cmd := exec.Command("unshare", "--net", "--mount", "bash", "-c", script, "bash", dir, harness.Program(t, "nginx"))
	cmd.Env = []string{"PATH=" + os.Getenv("PATH") + ":/usr/sbin:/sbin"}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if got := harness.Read(t, dir+"/kmsfs@certs"); got != "token" {
		t.Errorf("the service got %q", got)
	}
	if got := harness.Read(t, dir+"/other"); got != "" {
		t.Errorf("somebody else got %q", got)
	}
}
