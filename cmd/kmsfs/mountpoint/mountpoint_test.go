package mountpoint

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/kmsfs/kmsfs/cmd/kmsfs/ui"
	"github.com/kmsfs/kmsfs/fs/mount"
)

func nothing(string) string { return "" }

// said is an error with its hint.
func said(err error) string {
	if err == nil {
		return ""
	}
	text := err.Error()
	if f, ok := errors.AsType[*ui.Failure](err); ok {
		text += " | " + f.Tip
	}
	return text
}

// What stands against a mount is found out before anything is done, and the message
// says what to do.
func TestResolve(t *testing.T) {
	if _, err := os.Stat("/dev/fuse"); err != nil {
		t.Skipf("SKIPPED, NOT TESTED: %v", err)
	}
	dir := t.TempDir()
	for _, name := range []string{"src", "mnt", "full", "full/x"} {
		if err := os.Mkdir(filepath.Join(dir, name), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(os.WriteFile(dir+"/file", nil, 0o600), os.Symlink("mnt", dir+"/link")); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		source, point string
		nonempty      bool
		want          string
	}{
		{"src", "mnt", false, ""},
		{"src", "src", false, ""},
		{"src", "full", true, ""},
		{"src", "link", false, ""},
		{"src", "full", false, "is not empty | its files would be hidden"},
		{"none", "mnt", false, "no such file or directory | SRC is the directory"},
		{"file", "mnt", false, "not a directory | SRC is the directory"},
		{"src", "none", false, "no such file or directory | create the directory first: mkdir -p"},
		{"src", "file", false, "not a directory"},
		{"src", "none/below", false, "no such file or directory | create the directory first"},
	} {
		place, err := Resolve(Place{Source: filepath.Join(dir, c.source), Point: filepath.Join(dir, c.point)}, c.nonempty, nothing)
		if c.want == "" && err != nil || !strings.Contains(said(err), c.want) {
			t.Errorf("%s on %s: %s, want %q", c.source, c.point, said(err), c.want)
		}
		if err == nil && (place.Source != filepath.Join(dir, c.source) || place.Device != nil) {
			t.Errorf("%s on %s: %+v", c.source, c.point, place)
		}
	}
}

// Paths are those of the directory in which they were written.
func TestResolveRelative(t *testing.T) {
	if _, err := os.Stat("/dev/fuse"); err != nil {
		t.Skipf("SKIPPED, NOT TESTED: %v", err)
	}
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(os.Mkdir(dir+"/src", 0o700), os.Mkdir(dir+"/mnt", 0o700), os.Symlink("mnt", dir+"/link")); err != nil {
		t.Fatal(err)
	}
	t.Chdir(dir)
	place, err := Resolve(Place{Source: "src", Point: "link"}, false, nothing)
	if err != nil || place.Source != dir+"/src" || place.Point != dir+"/mnt" {
		t.Errorf("%+v, %v", place, err)
	}
}

// A successor finds its place by the device where it was given one, and else by
// name; the source is not looked at.
func TestStanding(t *testing.T) {
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	place, err := Standing(Place{Source: dir + "/gone", Point: dir + "/mnt"}, nil)
	if err != nil || place.Source != dir+"/gone" || place.Point != dir+"/mnt" || place.Device != nil {
		t.Errorf("by name: %+v, %v", place, err)
	}
	none, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	none.Close()
	if _, err := Standing(Place{Source: dir, Point: mount.DevFD + "3"}, none); err == nil || !strings.Contains(err.Error(), "nothing is mounted with it") {
		t.Errorf("no device: %v", err)
	}
}

// A working directory that has been removed is needed for relative paths alone.
func TestWorkingDirectoryThatIsGone(t *testing.T) {
	dir := t.TempDir() + "/gone"
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	t.Chdir(dir)
	if got, err := WorkingDirectory("x"); err != nil || filepath.Base(got) != "gone" {
		t.Errorf("%q, %v", got, err)
	}
	if err := os.Remove(dir); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PWD", "")
	if got, err := WorkingDirectory("/a", "", "/b"); err != nil || got != "/" {
		t.Errorf("absolute paths: %q, %v", got, err)
	}
	if _, err := WorkingDirectory("/a", "b"); err == nil || !strings.Contains(said(err), "the directory has been removed") {
		t.Errorf("a relative one: %s", said(err))
	}
}

// The hint is for this failure, this user and this way of mounting.
func TestExplain(t *testing.T) {
	eperm := &os.SyscallError{Syscall: "mount", Err: syscall.EPERM}
	missing := &mount.OptionError{Option: "nosuid"}
	if got := said(Explain(missing, true, false)); !strings.Contains(got, "must give it nosuid") {
		t.Errorf("handed in: %s", got)
	}
	if os.Geteuid() == 0 {
		if got := said(Explain(eperm, false, true)); !strings.Contains(got, "needs CAP_SYS_ADMIN") {
			t.Errorf("no capability: %s", got)
		}
		if other := errors.New("other"); Explain(other, false, false) != other {
			t.Error("root needs no word about fusermount3")
		}
	} else if got := said(Explain(eperm, false, true)); !strings.Contains(got, "only root may make a mount shared") {
		t.Errorf("shared: %s", got)
	}
}

// Only a service is warned of its own mount namespace, and only if it has one.
func TestSeenByHost(t *testing.T) {
	own, err := os.Readlink("/proc/self/ns/mnt")
	if err != nil {
		t.Fatal(err)
	}
	host, err := os.Readlink("/proc/1/ns/mnt")
	service := func(name string) string { return map[string]string{"NOTIFY_SOCKET": "/run/x"}[name] }
	if got := seenByHost("/mnt", service); (got != nil) != (err == nil && own != host) {
		t.Errorf("a service in %s, systemd in %s: %v", own, host, got)
	}
	if err := seenByHost("/mnt", nothing); err != nil {
		t.Errorf("a person: %v", err)
	}
}

// A file is hidden by the mount whatever way leads to it, and also before it is
// there.
func TestHides(t *testing.T) {
	dir := t.TempDir()
	point := filepath.Join(dir, "mnt")
	if err := os.MkdirAll(filepath.Join(point, "sub"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(point, filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	for file, want := range map[string]bool{"mnt/log": true, "mnt/sub/log": true, "link/log": true, "log": false, "mnt2": false, "none/log": false, "mnt/../log": false} {
		if got := Hides(point, filepath.Join(dir, file)); got != want {
			t.Errorf("%s: %t", file, got)
		}
	}
}

// A service refuses a source that its mount would hide, and makes its mountpoint.
func TestServiceIsApartFromItsSource(t *testing.T) {
	dir := t.TempDir()
	source := filepath.Join(dir, "above", "source")
	if err := os.MkdirAll(source, 0o755); err != nil {
		t.Fatal(err)
	}
	for point, apart := range map[string]bool{source: false, filepath.Dir(source): false, filepath.Join(source, "below"): true, filepath.Join(dir, "other", "mnt"): true} {
		s := Service{Place: Place{Source: source, Point: point}}
		if err := s.Apart(); apart != (err == nil) {
			t.Errorf("%s: %v", point, err)
		}
		if err := s.MakePoint(); err != nil {
			t.Errorf("%s: %v", point, err)
		}
		if st, err := os.Stat(point); err != nil || !st.IsDir() {
			t.Errorf("%s: %v", point, err)
		}
		if _, ok := s.stands(); ok {
			t.Errorf("%s is mounted", point)
		}
	}
}
