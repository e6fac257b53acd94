package ciphertexts

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/kmsfs/kmsfs/cmd/kmsfs/options"
	"github.com/kmsfs/kmsfs/fs/source"
	"github.com/kmsfs/kmsfs/kms"
)

// What was found beneath a directory is not read through a link, or a FIFO, that
// took its place since.
func TestOpenBeneath(t *testing.T) {
	dir, outside := t.TempDir(), t.TempDir()
	if err := os.WriteFile(outside+"/shadow", []byte("secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(dir+"/d", 0o700); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"a", "d/b", "d/c"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("plain"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	e := &Encryption{Settings: &options.Settings{}, Recursive: true}
	tasks := e.tasks([]string{dir})
	if len(tasks) != 3 {
		t.Fatalf("%d tasks", len(tasks))
	}
	read := func(i int) (string, error) {
		f, err := tasks[i].open(nil)
		if err != nil {
			return "", err
		}
		defer f.Close()
		b, err := io.ReadAll(f)
		return string(b), err
	}
	for i := range tasks {
		if got, err := read(i); err != nil || got != "plain" {
			t.Errorf("%s: %q, %v", tasks[i].file, got, err)
		}
	}
	replace := func(name string, with func(string) error) {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := os.RemoveAll(path); err != nil {
			t.Fatal(err)
		}
		if err := with(path); err != nil {
			t.Fatal(err)
		}
	}
	replace("a", func(path string) error { return os.Symlink(outside+"/shadow", path) })
	replace("d", func(path string) error { return os.Symlink(outside, path) })
	if err := os.Rename(outside+"/shadow", outside+"/b"); err != nil {
		t.Fatal(err)
	}
	for i := range tasks {
		if got, err := read(i); err == nil {
			t.Errorf("%s: %q", tasks[i].file, got)
		}
	}
	replace("a", func(path string) error { return syscall.Mkfifo(path, 0o600) })
	begun := time.Now()
	if got, err := read(0); err == nil || time.Since(begun) > time.Second {
		t.Errorf("a FIFO: %q, %v after %v", got, err, time.Since(begun))
	}
}

// A file that is written to during its call gets no ciphertext: that would be
// newer than the file, and not of it.
func TestChangedWhileEncrypted(t *testing.T) {
	file := filepath.Join(t.TempDir(), "a")
	if err := os.WriteFile(file, []byte("old"), 0o600); err != nil {
		t.Fatal(err)
	}
	e := &Encryption{Settings: &options.Settings{}}
	task := e.task(file)
	err := e.one(context.Background(), task, func(_ context.Context, plaintext []byte, _ kms.EncryptionContext) (*kms.Encrypted, error) {
		if string(plaintext) != "old" {
			t.Errorf("encrypts %q", plaintext)
		}
		return &kms.Encrypted{Blob: "blob"}, os.WriteFile(file, []byte("newer"), 0o600)
	})
	if err == nil || !strings.Contains(err.Error(), "changed meanwhile") {
		t.Errorf("%v", err)
	}
	if _, err := os.Lstat(file + source.Suffix); !os.IsNotExist(err) {
		t.Errorf("there is a ciphertext: %v", err)
	}
}
