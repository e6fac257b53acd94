package succession_test

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/kmsfs/kmsfs/integration/harness"
	"github.com/kmsfs/kmsfs/integration/lab"
)

// A successor is as good as the server before it, and needs nothing that that one
// did not need any more.

// ownCopy is a lab whose kmsfs is a file of the test's.
func ownCopy(t *testing.T, l *lab.Lab) (other *lab.Lab, program string) {
	t.Helper()
	dir := t.TempDir()
	for _, name := range []string{"kmsfs", "kms-emulator"} {
		b, err := os.ReadFile(filepath.Join(harness.BinDir, name))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), b, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	copied := *l
	copied.Bin = dir
	return &copied, filepath.Join(dir, "kmsfs")
}

// A program that cannot serve takes nothing over: a reload says so and changes
// nothing, and after a crash the program that ran before runs again.
func TestUnfitProgramTakesNothingOver(t *testing.T) {
	replace := func(program, content string) error {
		if err := os.Remove(program); err != nil {
			return err
		}
		return os.WriteFile(program, []byte(content), 0o755)
	}
	by := func(other string) func(program string) error {
		return func(program string) error { return replace(program, harness.Read(t, other)) }
	}
	idle := harness.Built(t, "integration/succession/idle")
	for name, c := range map[string]struct {
		spoil func(program string) error
		says  string
	}{
		"deleted":        {os.Remove, "no such file or directory"},
		"not executable": {func(program string) error { return os.Chmod(program, 0o644) }, "no program"},
		"empty":          {func(program string) error { return replace(program, "") }, "exec format error"},
		"of another machine": {func(program string) error {
			b, err := os.ReadFile(program)
			if err != nil {
				return err
			}
			b[18] ^= 0x7f // e_machine
			return replace(program, string(b))
		}, "exec format error"},
		"truncated": {func(program string) error {
			b, err := os.ReadFile(program)
			if err != nil {
				return err
			}
			return replace(program, string(b[:len(b)/2]))
		}, "cannot"},
		"ends at once": {by("/bin/false"), "cannot serve this mount: exit status 1"},
		"ends well":    {by("/bin/true"), "cannot serve this mount: it says nothing"},
		"hangs":        {by(idle), "does not begin to serve within 5s"},
		"refuses":      {by(filepath.Join(harness.BinDir, "kms-emulator")), "cannot serve this mount: "},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l, program := ownCopy(t, harness.NewLab(t))
			source := t.TempDir()
			harness.Put(t, source+"/a.cipher", harness.Seal(t, l, "served on"))
			h := harness.InBackground(t, l, source)
			holder, server := h.PIDs()
			real := filepath.Join(harness.BinDir, "kmsfs")
			if err := c.spoil(program); err != nil {
				t.Fatal(err)
			}
			ask := *l
			ask.Bin = harness.BinDir
			out, err := ask.Kmsfs(nil, "reload", h.Point)
			if err == nil || !strings.Contains(err.Error(), c.says) || !strings.Contains(err.Error(), "served on as before") || !strings.Contains(err.Error(), "hint: ") {
				t.Errorf("%q, %v", out, err)
			}
			if now, same := h.PIDs(); now != holder || same != server {
				t.Errorf("the processes were %d and %d, and are %d and %d", holder, server, now, same)
			}
			if got := harness.Read(t, h.Path("a")); got != "served on" {
				t.Errorf("after the reload it reads %q", got)
			}
			syscall.Kill(server, syscall.SIGHUP) // which has no caller
			harness.WaitLines(t, h.LogFile, "serving on: ", 1)
			for n := range 2 {
				syscall.Kill(server, syscall.SIGKILL)
				if got := harness.Read(t, h.Path("a")); got != "served on" {
					t.Errorf("after a kill it reads %q", got)
				}
				harness.WaitLines(t, h.LogFile, "msg=mounted", n+2)
				server = h.ServerOtherThan(t, server)
			}
			// And what is fit again takes over.
			b, err := os.ReadFile(real)
			if err != nil {
				t.Fatal(err)
			}
			os.Remove(program)
			if err := os.WriteFile(program, b, 0o755); err != nil {
				t.Fatal(err)
			}
			if out, err := ask.Kmsfs(nil, "reload", h.Point); err != nil {
				t.Error(out, err)
			}
			h.Umount(t, &ask)
		})
	}
}

// needs is a mount in the background whose processes find in files what they need.
func needs(t *testing.T) (l *lab.Lab, h *harness.Background, credentials, certificates string) {
	t.Helper()
	l = harness.NewLab(t)
	dir, source := t.TempDir(), t.TempDir()
	id, secret := harness.AccessKey(l)
	credentials, certificates = dir+"/config.json", dir+"/ca.pem"
	harness.Put(t, credentials, harness.ConfigJSON(t, map[string]string{
		"name": "default", "mode": "AK", "access_key_id": id, "access_key_secret": secret, "region_id": lab.Region}))
	if err := os.Chmod(credentials, 0o600); err != nil {
		t.Fatal(err)
	}
	harness.Put(t, certificates, harness.Read(t, l.CAFile))
	harness.Put(t, source+"/a.cipher", harness.Seal(t, l, "a secret"))
	harness.Put(t, source+"/b.cipher", harness.Seal(t, l, "another"))
	h = harness.InBackground(t, l, source, "credentials_file="+credentials+",ca_file="+certificates)
	if got := harness.Read(t, h.Path("a")); got != "a secret" {
		t.Fatalf("reads %q", got)
	}
	return l, h, credentials, certificates
}

// lacks are the ways in which something can be missing, and how that ends.
var lacks = map[string]func(t *testing.T, credentials, certificates string) (mend func()){
	"credentials missing": func(t *testing.T, credentials, _ string) func() { return away(t, credentials) },
	"credentials half written": func(t *testing.T, credentials, _ string) func() {
		whole := harness.Read(t, credentials)
		write := func(text string) {
			if err := os.WriteFile(credentials, []byte(text), 0o600); err != nil {
				t.Error(err)
			}
		}
		write(whole[:len(whole)/2])
		return func() { write(whole) }
	},
	"credentials for a group": func(t *testing.T, credentials, _ string) func() {
		mode := func(m os.FileMode) {
			if err := os.Chmod(credentials, m); err != nil {
				t.Error(err)
			}
		}
		mode(0o660)
		return func() { mode(0o600) }
	},
	"certificates missing": func(t *testing.T, _, certificates string) func() { return away(t, certificates) },
}

func away(t *testing.T, path string) (back func()) {
	t.Helper()
	if err := os.Rename(path, path+".away"); err != nil {
		t.Fatal(err)
	}
	return func() {
		if err := os.Rename(path+".away", path); err != nil {
			t.Error(err)
		}
	}
}

// A reload that would lack something is refused, and says what.
func TestReloadThatLacksSomethingIsRefused(t *testing.T) {
	for name, lack := range lacks {
		t.Run(name, func(t *testing.T) {
			l, h, credentials, certificates := needs(t)
			_, server := h.PIDs()
			mend := lack(t, credentials, certificates)
			out, err := l.Kmsfs(nil, "reload", h.Point)
			if err == nil || !strings.Contains(err.Error(), "served on as before") {
				t.Errorf("%q, %v", out, err)
			}
			t.Log(err)
			if _, same := h.PIDs(); same != server {
				t.Errorf("the server was %d and is %d", server, same)
			}
			for name, want := range map[string]string{"a": "a secret", "b": "another"} { // with what it had
				if got := harness.Read(t, h.Path(name)); got != want {
					t.Errorf("%s reads %q", name, got)
				}
			}
			mend()
			if out, err := l.Kmsfs(nil, "reload", h.Point); err != nil {
				t.Error(out, err)
			}
			if got := harness.Read(t, h.Path("a")); got != "a secret" {
				t.Errorf("after the reload it reads %q", got)
			}
			h.Umount(t, l)
		})
	}
}

// After a crash the mount is served on without what is missing: what needs nobody
// who decrypts works at once, and the rest as soon as it is there again.
func TestServerThatLacksSomethingServesOn(t *testing.T) {
	for name, lack := range lacks {
		t.Run(name, func(t *testing.T) {
			l, h, credentials, certificates := needs(t)
			held, err := os.Open(h.Path("a"))
			if err != nil {
				t.Fatal(err)
			}
			defer held.Close()
			_, server := h.PIDs()
			mend := lack(t, credentials, certificates)
			syscall.Kill(server, syscall.SIGKILL)
			if _, err := os.ReadFile(h.Path("b")); err == nil {
				t.Error("it decrypts, with what?")
			} else if !os.IsPermission(err) {
				t.Errorf("an open fails with %v", err)
			}
			if names, err := os.ReadDir(h.Point); err != nil || len(names) != 2 {
				t.Errorf("lists %v, %v", names, err)
			}
			if st, err := os.Stat(h.Path("a")); err != nil || st.Size() != int64(len("a secret")) {
				t.Errorf("stat: %v, %v", st, err)
			}
			const warning = "no file can be opened until this is mended"
			harness.WaitLines(t, h.LogFile, warning, 1)
			harness.WaitLines(t, h.LogFile, "msg=mounted", 2)
			if s := harness.StatusOf(t, l, h.Point); !strings.Contains(strings.Join(s.Warnings, "\n"), warning) {
				t.Errorf("status warns of %q", s.Warnings)
			}
			mend()
			harness.Eventually(t, "it decrypts again", func() bool {
				got, err := os.ReadFile(h.Path("b"))
				return err == nil && string(got) == "another"
			})
			got := make([]byte, 100)
			if n, err := held.ReadAt(got, 0); string(got[:n]) != "a secret" {
				t.Errorf("the old descriptor reads %q, %v", got[:n], err)
			}
			if s := harness.StatusOf(t, l, h.Point); strings.Contains(strings.Join(s.Warnings, "\n"), warning) {
				t.Errorf("status still warns of %q", s.Warnings)
			}
			held.Close()
			h.Umount(t, l)
		})
	}
}

// Where its directory is gone the log goes on in the file that is open.
func TestLogGoesOnWithoutItsDirectory(t *testing.T) {
	l := harness.NewLab(t)
	source := t.TempDir()
	harness.Put(t, source+"/a.cipher", harness.Seal(t, l, "a secret"))
	h := harness.InBackground(t, l, source)
	log, err := os.Open(h.LogFile)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	harness.WaitLines(t, h.LogFile, "msg=mounted", 1)
	dir := filepath.Dir(h.LogFile)
	back := away(t, dir)
	defer back()
	if out, err := l.Kmsfs(nil, "reload", h.Point); err == nil || !strings.Contains(err.Error(), "open log_file: ") {
		t.Errorf("%q, %v", out, err)
	}
	_, server := h.PIDs()
	syscall.Kill(server, syscall.SIGKILL)
	if got := harness.Read(t, h.Path("a")); got != "a secret" {
		t.Errorf("reads %q", got)
	}
	harness.WaitLines(t, dir+".away/"+filepath.Base(h.LogFile), "what the process before had open is written to", 1)
	harness.WaitLines(t, dir+".away/"+filepath.Base(h.LogFile), "msg=open ", 1)
	h.Umount(t, l)
}
