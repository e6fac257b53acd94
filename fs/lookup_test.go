package fs

import (
	"context"
	"encoding/base64"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"

	"github.com/kmsfs/kmsfs/cache"
	"github.com/kmsfs/kmsfs/cache/secmem"
	"github.com/kmsfs/kmsfs/fs/mount"
	"github.com/kmsfs/kmsfs/fs/session"
	"github.com/kmsfs/kmsfs/fs/source"
	"github.com/kmsfs/kmsfs/kms"
	"github.com/kmsfs/kmsfs/kms/aliyun/blobs"
)

// noService is a Decrypter for tests that need none.
type noService struct{}

func (noService) Decrypt(context.Context, kms.Blob, kms.EncryptionContext) (*kms.Decrypted, error) {
	return nil, errors.New("there is no service")
}

// unmounted is a filesystem over a source, for calls without a kernel.
func unmounted(t testing.TB, source string) *FS {
	t.Helper()
	memory, err := secmem.New(secmem.Config{Max: 1 << 16})
	if err != nil {
		t.Fatal(err)
	}
	c, err := cache.New(cache.Config{TTL: time.Minute, MaxBytes: 1 << 16, LoadTimeout: time.Second, Memory: memory})
	if err != nil {
		t.Fatal(err)
	}
	f, err := New(Config{Mount: mount.Spec{Source: source}, Decrypter: noService{}, Recogniser: blobs.Recogniser{}, Cache: c, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		f.source.Close()
		c.Close()
		memory.Close()
	})
	return f
}

// about is a request of nobody's.
func about(id uint64) *session.Request { return &session.Request{InHeader: &fuse.InHeader{NodeId: id}} }

// A directory that vanishes while its name is looked up is not there.
func TestVanishedDirectoryIsNotThere(t *testing.T) {
	source := t.TempDir()
	dir := filepath.Join(source, "d")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	f := unmounted(t, source)
	n, _, err := f.find("", "d")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(dir); err != nil {
		t.Fatal(err)
	}
	if _, status := f.enter(&session.Request{}, n, &fuse.EntryOut{}); status != fuse.ENOENT {
		t.Errorf("%v, want ENOENT", status)
	}
}

// A file that changes under every look is waited for: no LOOKUP fails as long
// as its writers pause soon.
func TestLookupWaitsForWriter(t *testing.T) {
	dir := t.TempDir()
	raw := "00000000-0000-0000-0000-000000000000" + strings.Repeat("x", 40_000)
	path := filepath.Join(dir, "a.cipher")
	if err := os.WriteFile(path, []byte(base64.StdEncoding.EncodeToString([]byte(raw))), 0o600); err != nil {
		t.Fatal(err)
	}
	f := unmounted(t, dir)
	torn := 0
	for begun := time.Now(); torn < 5 && time.Since(begun) < 10*time.Second; {
		until := time.Now().Add(writerGraceFor / 5)
		var writers sync.WaitGroup
		for w := range 2 {
			writers.Go(func() {
				for i := int64(w); time.Now().Before(until); i += 2 {
					// As a write does, on every clock.
					if err := os.Chtimes(path, time.Time{}, time.Unix(1, i%1e9)); err != nil {
						t.Error(err)
						return
					}
				}
			})
		}
		if _, _, err := f.find("", "a"); err == source.ErrTorn {
			torn++
			var out fuse.EntryOut
			if status := f.Lookup(about(rootID), "a", &out); !status.Ok() {
				t.Errorf("LOOKUP: %v", status)
			} else {
				f.Forget(out.NodeId, 1)
			}
		}
		writers.Wait()
	}
	if torn == 0 && runtime.GOMAXPROCS(0) > 1 { // one processor does not read and write at once
		t.Error("no look was torn")
	}
}
