package ciphertexts

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/kmsfs/kmsfs/cmd/kmsfs/ui"
	"github.com/kmsfs/kmsfs/fs/source"
)

// What cannot be written is found out before it is paid for, and the message
// says what to do.
func TestCheckDestination(t *testing.T) {
	dir := t.TempDir()
	for name, content := range map[string]string{"taken.cipher": "x", "file": "x"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("taken.cipher", dir+"/link.cipher"); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mkfifo(dir+"/pipe.cipher", 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		out     string
		replace bool
		want    string
	}{
		{"new.cipher", false, ""},
		{"new.cipher", true, ""},
		{strings.Repeat("n", 248) + source.Suffix, false, ""},
		{strings.Repeat("n", 249) + source.Suffix, false, "longer than 255 bytes"},
		{"taken.cipher", false, errTaken.Error()},
		{"taken.cipher", true, ""},
		{"link.cipher", true, "not a regular file"},
		{"pipe.cipher", true, "not a regular file"},
		{"none/new.cipher", false, "no such directory"},
		{"file/new.cipher", false, "not a directory"},
	} {
		err := checkDestination(filepath.Join(dir, c.out), c.replace)
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s, replace %t: %v, want %q", c.out, c.replace, err, c.want)
		}
	}
	t.Chdir(dir)
	if err := checkDestination("new.cipher", false); err != nil {
		t.Errorf("in the working directory: %v", err)
	}
	if err := checkDestination("/proc/self/new.cipher", false); err == nil && os.Geteuid() != 0 {
		t.Error("a directory that is not writable")
	}
}

// Nothing can lie beside a pipe or a descriptor.
func TestCheckOrigin(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(dir+"/file", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mkfifo(dir+"/pipe", 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("file", dir+"/link"); err != nil {
		t.Fatal(err)
	}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	f, err := os.Open(dir + "/file")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	of := func(f *os.File) string { return filepath.Join("/dev/fd", itoa(int(f.Fd()))) }
	for path, fine := range map[string]bool{
		dir + "/file": true, dir + "/link": true, dir: true, dir + "/none": true, // others say why
		dir + "/pipe": false, "/dev/null": false, of(r): false, of(f): false, "/proc/self/fd/" + filepath.Base(of(f)): false,
	} {
		err := checkOrigin(path)
		inner, _ := errors.AsType[*ui.Failure](err)
		if fine != (err == nil) || !fine && !strings.Contains(inner.Tip, "--output") {
			t.Errorf("%s: %v", path, err)
		}
	}
}
