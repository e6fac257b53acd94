package integration_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/kmsfs/kmsfs/integration/lab"
)

// behaves is what a mount of /srv/certs does whoever serves it: a root process
// or the sandboxed service. ttl must be 1s.
func (h *host) behaves(t *testing.T, point string) {
	secret := func(name, plaintext string) {
		t.Helper()
		h.write(t, "/srv/certs/"+name+".cipher", seal(t, h.lab, plaintext))
	}
	path := func(name string) string { return point + "/" + name }
	reads := func(name, want string) {
		t.Helper()
		if got := h.run(t, "cat", path(name)); got != want {
			t.Errorf("%s reads %q, not %q", name, got, want)
		}
	}
	refuses := func(name, why string) {
		t.Helper()
		if out := h.fails(t, "cat", path(name)); !strings.Contains(out, why) {
			t.Errorf("%s fails with %q, not %q", name, out, why)
		}
	}
	calls := func(want int) {
		t.Helper()
		if got := decrypts(t, h.lab); got != want {
			t.Errorf("%d calls, want %d", got, want)
		}
	}

	t.Run("Read", func(t *testing.T) {
		secret("a", "the secret")
		secret("dir/b", lengthy("b", 4000))
		h.run(t, "ln", "-sf", "a.cipher", "/srv/certs/link.cipher")
		reads("a", "the secret")
		reads("link", "the secret")
		reads("dir/b", lengthy("b", 4000))
		if got := h.run(t, "stat", "--format=%s %a %u %g", path("dir/b")); got != "4000 400 0 0\n" {
			t.Errorf("stat says %s", got)
		}
		if out := h.fails(t, "setpriv", "--reuid=65534", "--clear-groups", "cat", path("a")); !strings.Contains(out, "Permission denied") {
			t.Errorf("another user gets %q", out)
		}
		if out := h.fails(t, "sh", "-c", "echo > "+path("a")); !strings.Contains(out, "Read-only file system") {
			t.Errorf("a writer gets %q", out)
		}
	})
	t.Run("Ciphertext of others", func(t *testing.T) {
		secret("theirs", "their secret")
		h.run(t, "chown", "65534:65534", "/srv/certs/theirs.cipher")
		h.run(t, "mkdir", "-p", "/srv/certs/closed")
		secret("closed/c", "behind a closed door")
		h.run(t, "chown", "65534:65534", "/srv/certs/closed")
		h.run(t, "chmod", "700", "/srv/certs/closed")
		reads("theirs", "their secret")
		reads("closed/c", "behind a closed door")
	})
	t.Run("Replace", func(t *testing.T) {
		secret("r", "before")
		reads("r", "before")
		inode := h.run(t, "stat", "--format=%i", path("r"))
		secret("r", "after, and longer")
		reads("r", "after, and longer")
		if again := h.run(t, "stat", "--format=%i", path("r")); again == inode {
			t.Error("both versions have one inode")
		}
	})
	t.Run("TTL", func(t *testing.T) {
		secret("t", "short-lived")
		reset(t, h.lab)
		h.run(t, "sh", "-c", "cat "+strings.Repeat(path("t")+" ", 20)+"> /dev/null")
		calls(1)
		h.until(t, "", "called again", func() bool { reads("t", "short-lived"); return decrypts(t, h.lab) > 1 })
	})
	t.Run("One call", func(t *testing.T) {
		secret("cold", "asked for by all at once")
		reset(t, h.lab)
		fault(t, h.lab, map[string]any{"action": "Decrypt", "delay": "200ms"})
		out := h.run(t, "sh", "-c", "for i in 1 2 3 4 5 6 7 8; do cat "+path("cold")+" & done; wait")
		if out != strings.Repeat("asked for by all at once", 8) {
			t.Errorf("they read %q", out)
		}
		calls(1)
		mend(t, h.lab)
	})
	t.Run("Failure", func(t *testing.T) {
		secret("f", "not for everybody")
		h.write(t, "/srv/certs/garbage.cipher", "<html>")
		refuses("garbage", "Bad message")
		for _, f := range []struct{ code, errno string }{
			{"Forbidden.NoPermission", "Permission denied"},
			{"Rejected.Disabled", "Key has been revoked"},
		} {
			fault(t, h.lab, map[string]any{"action": "Decrypt", "status": 403, "code": f.code})
			secret("f", "not for everybody, "+f.code) // never read before
			refuses("f", f.errno)
			mend(t, h.lab)
		}
		reads("f", "not for everybody, Rejected.Disabled")
	})
	t.Run("Status", func(t *testing.T) {
		var status struct {
			Mountpoint string
			PID        int
			Cache      struct{ Loads int }
			KMS        struct{ Calls int }
			Warnings   []string
		}
		if err := json.Unmarshal([]byte(h.run(t, "kmsfs", "status", "--json", point)), &status); err != nil {
			t.Fatal(err)
		}
		if status.Mountpoint != point || status.Cache.Loads == 0 || status.KMS.Calls == 0 {
			t.Errorf("the status is %+v", status)
		}
		pid := fmt.Sprint(status.PID)
		if got := h.run(t, "sh", "-c", "grep -h 'Max core' /proc/"+pid+"/limits"); !strings.HasPrefix(strings.TrimPrefix(got, "Max core file size"), strings.Repeat(" ", 8)+"0 ") {
			t.Errorf("cores: %s", got)
		}
		reads("a", "the secret")
		reset(t, h.lab)
		h.run(t, "kmsfs", "flush", point)
		reads("a", "the secret")
		calls(1)
	})
}

func reset(t testing.TB, l *lab.Lab) {
	t.Helper()
	if err := l.ResetCalls(); err != nil {
		t.Fatal(err)
	}
}

func fault(t testing.TB, l *lab.Lab, f map[string]any) {
	t.Helper()
	if err := l.Fault(f); err != nil {
		t.Fatal(err)
	}
}

func mend(t testing.TB, l *lab.Lab) {
	t.Helper()
	if err := l.ClearFaults(); err != nil {
		t.Fatal(err)
	}
}

// The service's sandbox takes nothing away from what a root process does.
func TestSystemdBehaviour(t *testing.T) {
	h := bootKmsfs(t)
	h.run(t, "mkdir", "-p", "/srv/certs", "/srv/mnt")
	t.Run("Root", func(t *testing.T) {
		h.run(t, "kmsfs", "mount", "-o", h.options("ttl=1s", "refresh=0s", "log_file=/var/log/kmsfs", credentials), "/srv/certs", "/srv/mnt")
		h.behaves(t, "/srv/mnt")
		h.run(t, "kmsfs", "umount", "/srv/mnt")
	})
	t.Run("Service", func(t *testing.T) {
		h.serve(t, "certs", "/srv/certs", "/run/certs", "ttl=1s", "refresh=0s")
		h.behaves(t, "/run/certs")
		h.run(t, "systemctl", "stop", "kmsfs@certs")
	})
	t.Run("Service, open=fast", func(t *testing.T) {
		h.serve(t, "certs", "/srv/certs", "/run/certs", "open=fast")
		if got := h.run(t, "cat", "/run/certs/a"); got != "the secret" {
			t.Errorf("reads %q", got)
		}
		h.write(t, "/srv/certs/a.cipher", seal(t, h.lab, "the next secret"))
		h.until(t, "kmsfs@certs", "serving the new version", func() bool { return h.run(t, "cat", "/run/certs/a") == "the next secret" })
		h.run(t, "systemctl", "stop", "kmsfs@certs")
	})
}
