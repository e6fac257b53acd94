package commands_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/kmsfs/kmsfs/integration/harness"
	"github.com/kmsfs/kmsfs/integration/lab"
)

// instanceName is that of the emulator's instance endpoint.
const instanceName = "kst-hzz0emulator0example0.cryptoservice.kms.aliyuncs.com"

// Each hint is printed for the trouble it is about. Those of the program and of
// the service's adapter are read from their tables.
func TestEachHintIsPrintedForItsTrouble(t *testing.T) {
	harness.NeedMount(t)
	l, key := harness.NewLabGeneration3(t, "--instance-listen", "127.0.0.1:0", "--instance-image", "old")
	dir := t.TempDir()
	harness.Put(t, dir+"/a.cipher", harness.Seal(t, l, "secret"))
	private := func(name, content string) string {
		harness.Put(t, filepath.Join(dir, name), content)
		return filepath.Join(dir, name)
	}
	profile := func(mode, more string) string {
		return `{"current":"p","profiles":[{"name":"p","mode":"` + mode + `","region_id":"cn-hangzhou"` + more + `}]}`
	}
	loose := private("loose", profile("AK", ""))
	if err := os.Chmod(loose, 0o666); err != nil {
		t.Fatal(err)
	}
	file := dir + "/a.cipher"
	port := l.Endpoint[strings.LastIndex(l.Endpoint, ":"):]
	noKeys := map[string]string{"ALIBABA_CLOUD_ACCESS_KEY_ID": "", "ALIBABA_CLOUD_ACCESS_KEY_SECRET": ""}
	// In a namespace without network a name is in /etc/hosts or nowhere.
	alone := []string{"unshare", "--net", "--mount", "sh", "-ec", `
ip link set lo up
ip addr add 100.100.100.200/32 dev lo
echo "hosts: files" >"$0/nsswitch"; mount --bind "$0/nsswitch" /etc/nsswitch.conf
exec "$@"`, dir}
	named := func(name string) []string {
		return []string{"unshare", "--mount", "sh", "-ec", `echo "127.0.0.1 ` + name + `" >"$0/hosts"; mount --bind "$0/hosts" /etc/hosts; exec "$@"`, dir}
	}
	unprivileged := []string{"setpriv", "--bounding-set", "-dac_override,-dac_read_search"}
	full := []string{"unshare", "--mount", "sh", "-ec", `mkdir -p "$0/full"; mount -t tmpfs -o size=4k,nr_inodes=16 none "$0/full"; dd if=/dev/zero of="$0/full/x" bs=4k count=1 status=none; exec "$@"`, dir}
	unreadable := private("unreadable", "secret")
	if err := os.Chmod(unreadable, 0); err != nil {
		t.Fatal(err)
	}

	printed := map[string]bool{}
	for _, c := range []struct {
		fault  map[string]any
		in     []string // what runs the command
		env    map[string]string
		args   []string
		denied bool // the RAM policy is to blame
	}{
		{env: noKeys, args: []string{"decrypt", file}},
		{env: map[string]string{"ALIBABA_CLOUD_ACCESS_KEY_SECRET": ""}, args: []string{"decrypt", file}},
		{args: []string{"decrypt", "--credentials-file", private("config", profile("AK", "")), "--profile", "other", file}},
		{args: []string{"decrypt", "--credentials-file", private("garbage", "{"), file}},
		{args: []string{"decrypt", "--credentials-file", "relative", file}},
		{args: []string{"decrypt", "--credentials-file", loose, file}},
		{args: []string{"decrypt", "--credentials-file", private("external", profile("External", `,"process_command":"/bin/true"`)), file}},
		{args: []string{"decrypt", "--credentials-file", private("rsa", profile("RsaKeyPair", "")), file}},
		{env: map[string]string{"KMSFS_ALLOW_EMULATOR": ""}, args: []string{"decrypt", file}},
		{env: map[string]string{"DEBUG": "sdk"}, args: []string{"decrypt", file}},
		{args: []string{"decrypt", "--region", "cn hangzhou", file}},
		{args: []string{"decrypt", "--endpoint", "https://127.0.0.1", file}},
		{env: map[string]string{"ALIBABA_CLOUD_ACCESS_KEY_SECRET": "wrong"}, args: []string{"decrypt", file}},
		{fault: map[string]any{"code": "Forbidden.NoPermission"}, args: []string{"decrypt", file}, denied: true},
		{fault: map[string]any{"code": "Rejected.Disabled"}, args: []string{"decrypt", file}},
		{args: []string{"decrypt", "--encryption-context", "a=b", file}},
		{args: []string{"decrypt", "--endpoint", "127.0.0.1:1", file}},
		{in: unprivileged, args: []string{"decrypt", unreadable}},
		{in: full, args: []string{"encrypt", "--key", key, "--output", dir + "/full/a.cipher", loose}},

		{fault: map[string]any{"code": "Rejected.Throttling"}, args: []string{"decrypt", file}},
		{fault: map[string]any{"code": "UnsupportedOperation"}, args: []string{"decrypt", file}},
		{env: map[string]string{"KMSFS_ENDPOINT": l.InstanceEndpoint, "KMSFS_CA_FILE": l.InstanceCAFile}, args: []string{"decrypt", file}},
		{fault: map[string]any{"code": "Forbidden.DKMSInstanceStateInvalid", "status": 403}, args: []string{"decrypt", file}},
		{fault: map[string]any{"code": "InDebt", "status": 403}, args: []string{"decrypt", file}},
		{fault: map[string]any{"code": "Forbidden.UserNotEnabled", "status": 403}, args: []string{"decrypt", file}},
		{fault: map[string]any{"code": "Forbidden.ProhibitedByRiskControl"}, args: []string{"decrypt", file}},
		{fault: map[string]any{"code": "InvalidApi.NotFound"}, args: []string{"decrypt", file}},
		{in: alone, env: map[string]string{"ALIBABA_CLOUD_REGION_ID": "", "ALIBABA_CLOUD_ECS_METADATA_DISABLED": "", "KMSFS_ENDPOINT": "", "KMSFS_CA_FILE": ""}, args: []string{"decrypt", file}},
		{in: alone, args: []string{"decrypt", "--endpoint", instanceName, file}},
		{in: alone, args: []string{"decrypt", "--endpoint", "kms.cn-hangzhuo.aliyuncs.com", file}},
		{in: named(instanceName), args: []string{"decrypt", "--endpoint", instanceName + l.InstanceEndpoint[strings.LastIndex(l.InstanceEndpoint, ":"):], file}},
		{args: []string{"decrypt", "--endpoint", l.InstanceEndpoint, file}},
		{in: named("kms.cn-beijing.aliyuncs.com"), args: []string{"decrypt", "--endpoint", "kms.cn-beijing.aliyuncs.com" + port, file}},
		{env: map[string]string{"ALIBABA_CLOUD_REGION_ID": "", "KMSFS_ENDPOINT": ""}, args: []string{"decrypt", file}},
	} {
		if c.fault != nil {
			harness.Fault(t, l, c.fault)
		}
		cmd := l.Command(c.args...)
		if len(c.in) > 0 {
			cmd = exec.Command(c.in[0], append(append(c.in[1:], filepath.Join(l.Bin, "kmsfs")), c.args...)...)
		}
		cmd.Dir, cmd.Env = dir, harness.WithEnv(l.Env("PATH="+os.Getenv("PATH")+":/usr/sbin:/sbin"), c.env)
		o := harness.RunCommand(t, cmd)
		_, hint, ok := strings.Cut(o.Stderr, "\nhint: ")
		if hint = strings.TrimSpace(hint); !ok || o.Code == 0 || strings.Contains(hint, "\n") {
			t.Errorf("%v %v %v: exit code %d, %s", c.fault, c.env, c.args, o.Code, o.Stderr)
		}
		if strings.Contains(hint, "RAM policy") != c.denied {
			t.Errorf("%v %v: the hint is %q", c.fault, c.args, hint)
		}
		printed[hint] = true
		harness.Mend(t, l)
	}
	for _, hint := range append(stringsOf(t, harness.Repository("cmd/kmsfs/ui/ui.go"), "hints", "giveCredentials"), stringsOf(t, harness.Repository("kms/aliyun/scrub/hints.go"), "")...) {
		if !printed[hint] {
			t.Errorf("nothing here provokes %q", hint)
		}
	}
	if got, err := l.Kmsfs(nil, "decrypt", file); err != nil || got != "secret" {
		t.Errorf("%s afterwards: %q, %v", lab.Alias, got, err)
	}
}

// stringsOf are the long string literals in the named declarations of a source
// file, or in all its constants.
func stringsOf(t *testing.T, file string, names ...string) (found []string) {
	t.Helper()
	parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range parsed.Decls {
		g, ok := d.(*ast.GenDecl)
		if !ok || names[0] == "" && g.Tok != token.CONST {
			continue
		}
		for _, spec := range g.Specs {
			v, ok := spec.(*ast.ValueSpec)
			if !ok || names[0] != "" && !strings.Contains(strings.Join(names, " "), v.Names[0].Name) {
				continue
			}
			ast.Inspect(v, func(n ast.Node) bool {
				e, ok := n.(ast.Expr)
				if !ok {
					return true
				}
				s, ok := stringOf(e)
				if ok && len(s) > 20 {
					found = append(found, s)
				}
				return !ok // the parts of a sum are none
			})
		}
	}
	if len(found) < 10 {
		t.Fatalf("%s has %d hints", file, len(found))
	}
	return found
}

// stringOf is the value of a string literal, or of a sum of them.
func stringOf(e ast.Expr) (string, bool) {
	switch e := e.(type) {
	case *ast.BasicLit:
		s, err := strconv.Unquote(e.Value)
		return s, e.Kind == token.STRING && err == nil
	case *ast.BinaryExpr:
		left, ok := stringOf(e.X)
		right, too := stringOf(e.Y)
		return left + right, ok && too && e.Op == token.ADD
	}
	return "", false
}
