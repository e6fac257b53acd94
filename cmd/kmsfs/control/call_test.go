package control

import (
	"bufio"
	"os"
	"strings"
	"testing"

	"github.com/kmsfs/kmsfs/fs/mount"
)

// The daemon of a mount is found from the mount table: its owner says the
// directory, its device number the name.
func TestEndpointOf(t *testing.T) {
	env := func(string) string { return "/xdg" }
	for _, c := range []struct {
		super []string
		want  string
	}{
		{[]string{"rw", "user_id=0", "group_id=0"}, "/run/kmsfs/0-52.sock"},
		{[]string{"user_id=54321"}, "/run/user/54321/kmsfs/0-52.sock"}, // not ours: our environment says nothing of it
		{[]string{"rw"}, ""},
		{[]string{"user_id=root"}, ""},
	} {
		at, err := endpointOf(mount.Entry{Device: "0:52", Super: c.super}, env)
		if c.want == "" {
			if err == nil {
				t.Errorf("%q gives %+v", c.super, at)
			}
			continue
		}
		if err != nil || at.path() != c.want {
			t.Errorf("%q: %s, %v; want %s", c.super, at.path(), err, c.want)
		}
	}
	if dir := runtimeDir(os.Geteuid(), env); os.Geteuid() != 0 && dir != "/xdg" || os.Geteuid() == 0 && dir != "/run" {
		t.Errorf("ours is %s", dir)
	}
}

// A mount whose owner nobody knows is not asked.
func TestCallWithoutOwner(t *testing.T) {
	m := Mount{Name: "/m", Getenv: func(string) string { return "" }}
	if _, err := Call(m, Request{Verb: VerbStatus}); err == nil || err.Error() != `status "/m": the mount table does not say whose mount it is` {
		t.Error(err)
	}
}

// Where nobody answers, the error says what that means.
func TestNobodyAnswers(t *testing.T) {
	ask := func(at endpoint) error { _, err := at.call("/m", Request{Verb: VerbStatus}); return err }
	at := someEndpoint(t)
	if err := ask(at); err == nil || !strings.Contains(err.Error(), "no control socket here") || tipOf(err) == "" {
		t.Errorf("without a directory: %v", err)
	}
	l := bind(t, at)
	l.Close()
	if err := ask(at); err == nil || !strings.Contains(err.Error(), "has died") || !strings.Contains(tipOf(err), `kmsfs umount "/m"`) {
		t.Errorf("a dead socket: %v", err)
	}
	if err := os.Chmod(at.dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := ask(at); err == nil || !strings.Contains(err.Error(), "must be owned by") {
		t.Errorf("a directory for everybody: %v", err)
	}
}

// An answer is one line of JSON, and not an endless one.
func TestOddAnswers(t *testing.T) {
	for name, answer := range map[string]string{
		"nothing":     "",
		"no JSON":     "hello\n",
		"a half":      `{"error":`,
		"too much":    strings.Repeat(" ", maxAnswer) + "{}\n",
		"not text":    "\xff\xfe\n",
		"an array":    "[]\n",
		"a wrong one": `{"error":1}` + "\n",
	} {
		at := someEndpoint(t)
		l := bind(t, at)
		go func() {
			conn, err := l.AcceptUnix()
			if err != nil {
				return
			}
			defer conn.Close()
			bufio.NewReader(conn).ReadBytes('\n')
			conn.Write([]byte(answer))
		}()
		if a, err := at.call("/m", Request{Verb: VerbStatus}); err == nil {
			t.Errorf("%s gives %+v", name, a)
		}
	}
}
