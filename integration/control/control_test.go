package control_test

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/kmsfs/kmsfs/integration/harness"
	"github.com/kmsfs/kmsfs/integration/lab"
)

// socketChild is somebody at a control socket: "ask PATH" sends a request and
// prints the answer, "serve PATH" listens.
var socketChild = harness.NewChild("socket", func(arg string) {
	verb, path, _ := strings.Cut(arg, " ")
	if verb == "serve" {
		l, err := net.Listen("unix", path)
		fmt.Println("serving", err)
		for err == nil {
			_, err = l.Accept()
		}
		os.Exit(1)
	}
	conn, err := net.Dial("unix", path)
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	io.WriteString(conn, "{\"verb\":\"status\"}\n")
	io.Copy(os.Stdout, conn)
})

// say sends to a control socket and returns what comes back until its end.
func say(t testing.TB, socket, text string) string {
	t.Helper()
	conn, err := net.Dial("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(harness.Patience))
	go io.WriteString(conn, text) // as far as it is read
	b, err := io.ReadAll(conn)
	if err != nil && !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("%.40q: %v", text, err)
	}
	return string(b)
}

// What is no request is refused in words, and disturbs nothing.
func TestControlRefusesGarbage(t *testing.T) {
	l := harness.NewLab(t)
	m := harness.Mount(t, l, "")
	harness.Put(t, m.InSource("a.cipher"), harness.Seal(t, l, "secret"))
	socket := harness.SocketOf(t, m.Point)
	for _, c := range []struct{ send, want string }{
		{"\n", "not a request"},
		{"GET / HTTP/1.1\r\n\r\n", "not a request"},
		{"\x00\xff\x1b[31m\n", "not a request"},
		{`{"verb":"stop"}` + "\n", "unknown verb"},
		{`{"verb":"status","x":1}` + "\n", "not a request"},
		{`{"verb":"flush","paths":["Li4vLi4vZXRj"]}` + "\n", "not below the mount"},
		{strings.Repeat("[", 60<<10) + "\n", "not a request"},
		{strings.Repeat("x", 1<<20), "at most 64 KiB"},
		{`{"verb":"status"}` + "\n", `"status":{"mountpoint":`},
	} {
		if got := say(t, socket, c.send); !strings.Contains(got, c.want) || strings.Count(got, "\n") != 1 || len(got) > 64<<10 {
			t.Errorf("%.40q gets %.200q, want %q", c.send, got, c.want)
		}
	}
	if got := harness.Read(t, m.Path("a")); got != "secret" {
		t.Errorf("reads %q", got)
	}
}

// A client that stalls holds up neither another one, nor reads, nor the end;
// and there is an end to how many can.
func TestControlSurvivesStalledClients(t *testing.T) {
	l := harness.NewLab(t)
	m := harness.Mount(t, l, "")
	harness.Put(t, m.InSource("a.cipher"), harness.Seal(t, l, "secret"))
	socket := harness.SocketOf(t, m.Point)
	stall := func() net.Conn {
		conn, err := net.Dial("unix", socket)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		io.WriteString(conn, `{"verb":`)
		return conn
	}
	first := stall()
	begun := time.Now()
	harness.StatusOf(t, l, m.Point)
	if got := harness.Read(t, m.Path("a")); got != "secret" {
		t.Errorf("reads %q", got)
	}
	if d := time.Since(begun); d > 4*time.Second {
		t.Errorf("beside a stalled client that took %v", d)
	}
	for range 30 {
		stall()
	}
	if out, err := l.Command("status", m.Point).CombinedOutput(); err == nil || !strings.Contains(string(out), "too many requests at a time") {
		t.Errorf("beside 31 stalled clients: %v\n%s", err, out)
	}
	if got := harness.Read(t, m.Path("a")); got != "secret" {
		t.Errorf("reads %q", got)
	}
	first.SetDeadline(time.Now().Add(harness.Patience))
	if _, err := io.ReadAll(first); errors.Is(err, os.ErrDeadlineExceeded) {
		t.Error("the stalled client is never let go")
	}
	harness.Eventually(t, "status answers once they are let go", func() bool {
		_, err := l.Kmsfs(nil, "status", m.Point)
		return err == nil
	})
	stall()
	begun = time.Now()
	m.Stop(t)
	if d := time.Since(begun); d > 4*time.Second {
		t.Errorf("the end took %v", d)
	}
	if _, err := os.Lstat(socket); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the socket is left behind (%v)", err)
	}
}

// A process that does not answer is said not to; reading its mount is not
// needed to find that out.
func TestStatusSaysThatAProcessDoesNotAnswer(t *testing.T) {
	l := harness.NewLab(t)
	m := harness.Mount(t, l, "")
	m.Signal(t, syscall.SIGSTOP)
	defer m.Signal(t, syscall.SIGCONT)
	out, err := l.Command("status", m.Point).CombinedOutput()
	if err == nil || !strings.Contains(string(out), "does not answer") {
		t.Errorf("%v\n%s", err, out)
	}
}

// Clients may come in any number.
func TestControlTakesClientsInAnyNumber(t *testing.T) {
	l := harness.NewLab(t)
	m := harness.Mount(t, l, "")
	var wg sync.WaitGroup
	socket := harness.SocketOf(t, m.Point)
	for range 100 {
		wg.Go(func() {
			got := say(t, socket, "{\"verb\":\"status\"}\n")
			if !strings.HasPrefix(got, `{"status":{`) && !strings.Contains(got, "too many requests") && got != "" {
				t.Errorf("%q", got)
			}
		})
	}
	wg.Wait()
	harness.StatusOf(t, l, m.Point)
}

// apart mounts in a mount namespace of its own with a /run of its own, after
// a shell command has prepared that.
func apart(t *testing.T, l *lab.Lab, source, prepare string) (m *harness.Mounted, inside func(uid int, env string, args ...string) *exec.Cmd) {
	t.Helper()
	harness.NeedMount(t)
	m = &harness.Mounted{Source: source, Point: t.TempDir()}
	m.Cmd = l.Command()
	m.Cmd.Path = "/usr/bin/unshare"
	m.Cmd.Args = []string{"unshare", "-m", "--propagation", "private", "sh", "-ec",
		"mount -t tmpfs -o mode=755 none /run; " + prepare + `; exec "$@"`, "sh",
		filepath.Join(l.Bin, "kmsfs"), "mount", "--foreground", "-o", "allow_emulator", m.Source, m.Point}
	m.Launch(t)
	t.Cleanup(func() {
		m.Cmd.Process.Signal(syscall.SIGTERM)
		<-m.Done
		m.Cmd.Wait()
	})
	m.WaitLog(t, "msg=mounted")
	return m, func(uid int, env string, args ...string) *exec.Cmd {
		cmd := exec.Command("nsenter", append([]string{"-t", fmt.Sprint(m.PID), "-m", "setpriv", "--clear-groups",
			fmt.Sprint("--reuid=", uid), fmt.Sprint("--regid=", uid)}, args...)...)
		cmd.Env = append(os.Environ(), env)
		return cmd
	}
}

// Another user is kept away by the directory; where that has been opened, by
// the socket; and where that has been opened, too, by the daemon. And a client
// speaks to nobody but the one who mounted.
func TestControlIsPrivate(t *testing.T) {
	l := harness.NewLab(t)
	m, inside := apart(t, l, t.TempDir(), "true")
	out, err := inside(0, "", "sh", "-c", "echo /run/kmsfs/*.sock").Output()
	socket := strings.TrimSpace(string(out))
	if err != nil || !strings.HasSuffix(socket, ".sock") || strings.Contains(socket, "*") {
		t.Fatalf("no socket: %q, %v", out, err)
	}
	dir := t.TempDir()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	me, kmsfs := filepath.Join(dir, "me"), filepath.Join(dir, "kmsfs")
	for from, to := range map[string]string{self: me, filepath.Join(l.Bin, "kmsfs"): kmsfs} {
		if out, err := exec.Command("cp", from, to).CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
	}
	harness.LetOthersPass(t, dir)
	const nobody = 65534
	run := func(cmd *exec.Cmd) string {
		out, _ := cmd.CombinedOutput()
		return string(out)
	}
	ask := socketChild.Env("ask " + socket)
	if got := run(inside(0, ask, me)); !strings.HasPrefix(got, `{"status":`) {
		t.Errorf("root gets %q", got)
	}
	chmod := func(mode, path string) {
		if out, err := inside(0, "", "chmod", mode, path).CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
	}
	for _, c := range []struct{ dir, socket, want string }{
		{"0700", "0666", "permission denied"},
		{"0755", "0600", "permission denied"},
		{"0755", "0666", `{"error":"only root and the user who mounted may ask"}` + "\n"},
	} {
		chmod(c.dir, "/run/kmsfs")
		chmod(c.socket, socket)
		if got := run(inside(nobody, ask, me)); !strings.Contains(got, c.want) {
			t.Errorf("directory %s, socket %s: nobody gets %q, want %q", c.dir, c.socket, got, c.want)
		}
	}
	if got := run(inside(0, "", kmsfs, "status", m.Point)); !strings.Contains(got, `"/run/kmsfs" has owner 0 and mode 0755`) {
		t.Errorf("a client at an open directory: %q", got)
	}
	chmod("0700", "/run/kmsfs")
	chmod("0600", socket)
	if got := run(inside(nobody, "", kmsfs, "status", m.Point)); !strings.Contains(got, "permission denied\nhint: run as root") {
		t.Errorf("nobody's kmsfs status prints %q", got)
	}
	if got := run(inside(0, "", kmsfs, "status", m.Point)); !strings.Contains(got, m.Point) || strings.Contains(got, "hint") {
		t.Errorf("root's kmsfs status prints %q", got)
	}

	chmod("0777", "/run/kmsfs")
	if got := run(inside(0, "", "mv", socket, "/run/elsewhere")); got != "" {
		t.Fatal(got)
	}
	impostor := inside(nobody, socketChild.Env("serve "+socket), me)
	stdout, err := impostor.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := impostor.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { impostor.Process.Kill(); impostor.Wait() }()
	if line, _ := bufio.NewReader(stdout).ReadString('\n'); line != "serving <nil>\n" {
		t.Fatalf("%q", line)
	}
	chmod("0700", "/run/kmsfs")
	if got := run(inside(0, "", kmsfs, "status", m.Point)); !strings.Contains(got, "its socket is served by uid 65534, not by uid 0") {
		t.Errorf("a client at an impostor: %q", got)
	}
}

// Without a place for the socket there is a warning, and a mount.
func TestMountNeedsNoPlaceForItsSocket(t *testing.T) {
	l := harness.NewLab(t)
	for name, c := range map[string]struct{ prepare, want string }{
		"read-only": {"mount -o remount,ro /run", "read-only file system"},
		"a link":    {"mkdir -m 0700 /run/other; ln -s other /run/kmsfs", "not a directory"},
		"a file":    {"touch /run/kmsfs", "not a directory"},
		"another's": {"mkdir -m 0700 /run/kmsfs; chown nobody /run/kmsfs", "has owner 65534 and mode 0700"},
		"too open":  {"mkdir -m 0750 /run/kmsfs", "has owner 0 and mode 0750"},
	} {
		t.Run(name, func(t *testing.T) {
			m, inside := apart(t, l, t.TempDir(), c.prepare)
			m.WaitLog(t, "level=WARN", "no control socket", c.want)
			if n := strings.Count(m.Log(), "no control socket"); n != 1 {
				t.Errorf("%d warnings", n)
			}
			harness.Put(t, m.InSource("a.cipher"), harness.Seal(t, l, "secret"))
			if out, err := inside(0, "", "cat", m.Path("a")).CombinedOutput(); err != nil || string(out) != "secret" {
				t.Errorf("%q, %v", out, err)
			}
			var stderr bytes.Buffer
			cmd := inside(0, "", filepath.Join(l.Bin, "kmsfs"), "status", m.Point)
			cmd.Stderr = &stderr
			if err := cmd.Run(); err == nil || !strings.HasPrefix(stderr.String(), "kmsfs: status ") {
				t.Errorf("status: %v\n%s", err, &stderr)
			}
		})
	}
}

// Another user than root has the socket in his own runtime directory, and
// root finds it there as well.
func TestControlSocketOfAnotherUserIsFound(t *testing.T) {
	l := harness.NewLab(t)
	harness.LetOthersPass(t, l.Dir)
	harness.LetOthersPass(t, l.Bin)
	if err := os.Chmod(l.CAFile, 0o644); err != nil {
		t.Fatal(err)
	}
	const prepare = `mknod -m 666 /run/fuse c 10 229; mount --bind /run/fuse /dev/fuse
		mkdir -m 755 /run/user; mkdir -m 700 /run/user/65534; chown 65534:65534 /run/user/65534
		for mnt; do :; done; chown 65534:65534 "$mnt"; chmod 755 "$(dirname "$mnt")"; %s
		set -- setpriv --reuid=65534 --regid=65534 --clear-groups "$@"`
	for name, c := range map[string]struct{ environment, socket string }{
		"by its name":      {"export XDG_RUNTIME_DIR=/run/user/65534", "/run/user/65534/kmsfs"},
		"without a name":   {"unset XDG_RUNTIME_DIR", "/run/user/65534/kmsfs"},
		"an unsafe parent": {"export XDG_RUNTIME_DIR=/tmp", ""},
	} {
		t.Run(name, func(t *testing.T) {
			source := t.TempDir()
			harness.Put(t, source+"/a.cipher", harness.Seal(t, l, "his secret"))
			harness.LetOthersPass(t, source)
			if err := os.Chmod(source+"/a.cipher", 0o644); err != nil {
				t.Fatal(err)
			}
			m, inside := apart(t, l, source, fmt.Sprintf(prepare, c.environment))
			if c.socket == "" {
				m.WaitLog(t, "level=WARN", "no control socket", "/tmp", "it must be owned by 65534 with mode 0700")
				return
			}
			if out, err := inside(65534, "", "cat", m.Path("a")).CombinedOutput(); err != nil || string(out) != "his secret" {
				t.Errorf("%q, %v", out, err)
			}
			if out, err := inside(65534, "", "stat", "-c", "%a %u", c.socket).CombinedOutput(); err != nil || string(out) != "700 65534\n" {
				t.Errorf("%q, %v", out, err)
			}
			for _, uid := range []int{65534, 0} {
				for _, args := range [][]string{{"status", m.Point}, {"flush", m.Point, "a"}} {
					out, err := inside(uid, "XDG_RUNTIME_DIR=", append([]string{filepath.Join(l.Bin, "kmsfs")}, args...)...).CombinedOutput()
					if err != nil {
						t.Errorf("uid %d: %v: %v\n%s", uid, args, err, out)
					}
				}
			}
			if out, err := inside(1234, "", filepath.Join(l.Bin, "kmsfs"), "status", m.Point).CombinedOutput(); err == nil || !strings.Contains(string(out), "permission denied") {
				t.Errorf("a third user: %v\n%s", err, out)
			}
		})
	}
}
