package consumers_test

import (
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/kmsfs/kmsfs/integration/harness"
)

// redisServer reloads when it is told its files again.
func redisServer(t *testing.T, m *harness.Mounted) *server {
	host, port := harness.FreeAddress(t)
	dir := t.TempDir()
	// Debian's redis-server is a link to this program, in a package that
	// also starts it.
	cmd := exec.Command(harness.Program(t, "redis-check-rdb"))
	cmd.Args = []string{"redis-server", "--port", "0", "--bind", host, "--tls-port", port, "--tls-auth-clients", "no",
		"--tls-cert-file", m.Path("cert.pem"), "--tls-key-file", m.Path("key.pem"), "--save", "", "--dir", dir}
	s := &server{Daemon: harness.StartDaemon(t, dir, cmd)}
	s.served = func() (string, bool) { return harness.Handshake(net.JoinHostPort(host, port), "") }
	s.reload = func(t *testing.T) {
		out, err := exec.Command(harness.Program(t, "redis-cli"), "-h", host, "-p", port, "--tls", "--insecure",
			"config", "set", "tls-cert-file", m.Path("cert.pem"), "tls-key-file", m.Path("key.pem")).CombinedOutput()
		if err != nil {
			t.Fatalf("redis-cli: %v\n%s", err, out)
		}
	}
	return s
}

// ownedBy are the options of a mount for a user and group of this machine.
func ownedBy(owner, group, mode string) string {
	u, err := user.Lookup(owner)
	if err != nil {
		return "unknown user " + owner // mounting says so
	}
	g, err := user.LookupGroup(group)
	if err != nil {
		return "unknown group " + group
	}
	return "allow_other,dir_mode=0550,file_mode=" + mode + ",uid=" + u.Uid + ",gid=" + g.Gid
}

// startTLS asks PostgreSQL to change to TLS.
const startTLS = "\x00\x00\x00\x08\x04\xd2\x16\x2f"

// postgresProgram is one of those that Debian keeps out of PATH.
func postgresProgram(t *testing.T, name string) string {
	t.Helper()
	found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/" + name)
	if len(found) == 0 {
		t.Fatalf("%s is not installed; make setup installs it", name)
	}
	return found[len(found)-1]
}

// asPostgres lets a command run as the user postgres.
func asPostgres(t *testing.T, cmd *exec.Cmd) *exec.Cmd {
	t.Helper()
	u, err := user.Lookup("postgres")
	if err != nil {
		t.Fatal(err)
	}
	uid, err := strconv.ParseUint(u.Uid, 10, 32)
	if err != nil {
		t.Fatal(err)
	}
	gid, err := strconv.ParseUint(u.Gid, 10, 32)
	if err != nil {
		t.Fatal(err)
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}}
	return cmd
}

// cluster is an empty PostgreSQL database of the user postgres.
func cluster(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	harness.LetOthersPass(t, dir)
	data := filepath.Join(dir, "data")
	if err := os.Mkdir(data, 0o700); err != nil {
		t.Fatal(err)
	}
	initdb := asPostgres(t, exec.Command(postgresProgram(t, "initdb"), "--no-sync", "--no-locale", "--auth=trust", "-D", data))
	initdb.Dir = dir
	u := initdb.SysProcAttr.Credential
	if err := os.Chown(data, int(u.Uid), int(u.Gid)); err != nil {
		t.Fatal(err)
	}
	if out, err := initdb.CombinedOutput(); err != nil {
		t.Fatalf("initdb: %v\n%s", err, out)
	}
	return data
}

func postgresServer(t *testing.T, m *harness.Mounted) *server { return startPostgres(t, m, cluster(t)) }

// PostgreSQL takes a key that only its own user or root and its group can
// read, and says which of these is not so.
func TestPostgresTakesAKeyThatOnlyItsOwnersRead(t *testing.T) {
	harness.NeedMount(t)
	l := harness.NewLab(t)
	data := cluster(t)
	for _, c := range []struct{ owner, group, mode, complaint string }{
		{"postgres", "postgres", "0400", ""},
		{"root", "postgres", "0440", ""},
		{"root", "root", "0400", "Permission denied"},
		{"root", "postgres", "0444", "has group or world access"},
		{"postgres", "postgres", "0440", "has group or world access"},
		{"www-data", "postgres", "0440", "must be owned by the database user or root"},
	} {
		t.Run(c.owner+" "+c.group+" "+c.mode, func(t *testing.T) {
			m := harness.Mount(t, l, "", ownedBy(c.owner, c.group, c.mode))
			harness.LetOthersPass(t, m.Point)
			cert := deploy(t, l, m)
			s := startPostgres(t, m, data)
			if c.complaint == "" {
				s.Until(t, "handshake with the mount's certificate", func() bool { got, _ := s.served(); return got == cert })
				s.Stop() // before the next one takes its files
				return
			}
			s.End(t)
			if !strings.Contains(s.Log(), c.complaint) || s.Cmd.ProcessState.Success() {
				t.Errorf("%v without %q:\n%s", s.Cmd.ProcessState, c.complaint, s.Log())
			}
		})
	}
}

func startPostgres(t *testing.T, m *harness.Mounted, data string) *server {
	host, port := harness.FreeAddress(t)
	dir := t.TempDir()
	harness.LetOthersPass(t, dir)
	s := &server{Daemon: harness.StartDaemon(t, dir, asPostgres(t, exec.Command(postgresProgram(t, "postgres"), "-D", data, "-F",
		"-c", "listen_addresses="+host, "-c", "port="+port, "-c", "unix_socket_directories=",
		"-c", "ssl=on", "-c", "ssl_cert_file="+m.Path("cert.pem"), "-c", "ssl_key_file="+m.Path("key.pem"))))}
	s.served = func() (string, bool) { return harness.Handshake(net.JoinHostPort(host, port), startTLS) }
	s.reload = func(t *testing.T) {
		out, err := exec.Command(postgresProgram(t, "psql"), "-h", host, "-p", port, "-U", "postgres", "-Atc", "select pg_reload_conf()").CombinedOutput()
		if err != nil || string(out) != "t\n" {
			t.Fatalf("psql: %v\n%s", err, out)
		}
	}
	return s
}
