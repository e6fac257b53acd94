package opening_test

import (
	"fmt"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/kmsfs/kmsfs/integration/harness"
)

// nginx 1.27.4 and later keeps a certificate or key at a reload when the
// file's inode and the second of its change are those of before. However a
// version gets into the source, it differs from the last in one of them.
func TestRotationIsSeen(t *testing.T) {
	l := harness.NewLab(t)
	m := harness.Mount(t, l, "")
	// Plaintexts of one length, so that the ciphertexts have one length, too.
	versions := []string{harness.Seal(t, l, "version 1"), harness.Seal(t, l, "version 2")}
	then := time.Now().Add(-time.Hour).Truncate(time.Second)
	path := m.InSource("key.pem.cipher")

	inPlace := func(t *testing.T, blob string) {
		f, err := os.OpenFile(path, os.O_WRONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if _, err := f.WriteString(blob); err != nil {
			t.Fatal(err)
		}
	}
	keepTime := func(t *testing.T) {
		if err := os.Chtimes(path, then, then); err != nil {
			t.Fatal(err)
		}
	}
	for name, replace := range map[string]func(*testing.T, string){
		"renamed over":                    func(t *testing.T, blob string) { harness.Put(t, path, blob) },
		"renamed over, with the old time": func(t *testing.T, blob string) { harness.Put(t, path, blob); keepTime(t) },
		"in place":                        inPlace,
		"in place, with the old time":     func(t *testing.T, blob string) { inPlace(t, blob); keepTime(t) },
		"deleted and made anew, with the old time": func(t *testing.T, blob string) {
			// Most file systems hand out the same inode number again.
			if err := os.Remove(path); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, []byte(blob), 0o600); err != nil {
				t.Fatal(err)
			}
			keepTime(t)
		},
		"exchanged with the next version": func(t *testing.T, blob string) {
			next := m.InSource("next.cipher")
			harness.Put(t, next, blob)
			if err := os.Chtimes(next, then, then); err != nil {
				t.Fatal(err)
			}
			if err := unix.Renameat2(unix.AT_FDCWD, next, unix.AT_FDCWD, path, unix.RENAME_EXCHANGE); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			harness.Put(t, path, versions[0])
			keepTime(t)
			if got := harness.Read(t, m.Path("key.pem")); got != "version 1" {
				t.Fatalf("reads %q", got)
			}
			before := identity(t, m.Path("key.pem"))
			if again := identity(t, m.Path("key.pem")); again != before {
				t.Errorf("without a change %v became %v", before, again)
			}
			replace(t, versions[1])
			// A stat may be as old as the news of inotify.
			harness.Within(t, time.Second, fmt.Sprintf("another version than %v", before), func() bool { return identity(t, m.Path("key.pem")) != before })
			if got := harness.Read(t, m.Path("key.pem")); got != "version 2" {
				t.Errorf("reads %q", got)
			}
		})
	}
}

// identity is what nginx compares.
func identity(t *testing.T, path string) [2]int64 {
	t.Helper()
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		t.Fatal(err)
	}
	return [2]int64{int64(st.Ino), st.Mtim.Sec}
}
