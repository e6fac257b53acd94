package fs

import (
	"context"
	"encoding/base64"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"

	"github.com/kmsfs/kmsfs/fs/session"
	"github.com/kmsfs/kmsfs/kms"
)

const someVersion = "00000000-0000-0000-0000-000000000000"

// zeros decrypts everything to as many zeros as it should have.
type zeros struct{}

func (zeros) Decrypt(_ context.Context, b kms.Blob, _ kms.EncryptionContext) (*kms.Decrypted, error) {
	return &kms.Decrypted{Plaintext: make([]byte, b.PlaintextSize), Origin: kms.Origin{KeyVersionID: b.KeyVersionID}}, nil
}

// putBlob writes a ciphertext with a text in it.
func putBlob(t testing.TB, path, text string) {
	t.Helper()
	raw := someVersion + strings.Repeat("x", 100) + text
	if err := os.WriteFile(path+".new", []byte(base64.StdEncoding.EncodeToString([]byte(raw))), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
}

// succession is a row of processes that serve one source: after each message
// of the kernel's comes the next one.
type succession struct {
	t      *testing.T
	source string
	served int
	before func(message int) // something happens in the source
}

func (s *succession) next() *FS {
	f := unmounted(s.t, s.source)
	f.cfg.Decrypter = zeros{}
	if s.served++; s.served > 1 {
		f.resumed = true
	}
	if s.before != nil {
		s.before(s.served)
	}
	return f
}

// open is what open(2) does: it walks the path and opens, and both once more
// when the first time ends with ESTALE.
func (s *succession) open(name string, tid uint32) fuse.Status {
	once := func() fuse.Status {
		var entry fuse.EntryOut
		h := fuse.InHeader{NodeId: rootID, Caller: fuse.Caller{Pid: tid}}
		if status := s.next().Lookup(&session.Request{InHeader: &h}, name, &entry); !status.Ok() {
			return status
		}
		h.NodeId = entry.NodeId
		return s.next().Open(&session.Request{InHeader: &h}, &fuse.OpenIn{InHeader: h}, &fuse.OpenOut{})
	}
	status := once()
	if status == fuse.Status(syscall.ESTALE) {
		status = once()
	}
	return status
}

// However often the process that serves is followed by another one while a file
// is opened, the opener does not notice; nor when the file is replaced in
// between.
func TestNoOpenNoticesThatProcessesFollow(t *testing.T) {
	for name, replacedBefore := range map[string]int{"left alone": 0, "replaced before OPEN": 2, "replaced before the second LOOKUP": 3} {
		for _, tid := range []uint32{7, 0} {
			t.Run(fmt.Sprint(name, ", thread ", tid), func(t *testing.T) {
				path := filepath.Join(t.TempDir(), "a.cipher")
				putBlob(t, path, "before")
				s := succession{t: t, source: filepath.Dir(path)}
				s.before = func(message int) {
					if message == replacedBefore {
						putBlob(t, path, "after")
					}
				}
				if status := s.open("a", tid); !status.Ok() {
					t.Errorf("%v after %d processes", status, s.served)
				}
			})
		}
	}
}

// What a walk finds for a predecessor's id is counted as what a LOOKUP finds.
func TestRestoredNodeIsCounted(t *testing.T) {
	source := t.TempDir()
	putBlob(t, filepath.Join(source, "a.cipher"), "")
	f := unmounted(t, source)
	f.mode, f.resumed = newMode(f, true), true
	n, _, err := f.find("", "a")
	if err != nil {
		t.Fatal(err)
	}
	h := f.resolve(about(rootID), n.id)
	if h == nil || h.kept.Load() == nil || f.nodes.kept != h.kept.Load().weight() {
		t.Fatalf("found %v, %d bytes are kept", h, f.nodes.kept)
	}
	f.Forget(n.id, 3)
	if f.nodes.kept != 0 || f.nodes.get(n.id) != nil {
		t.Errorf("after FORGET %d bytes are kept", f.nodes.kept)
	}
	if f.resolve(about(rootID), n.id+1) != nil {
		t.Error("an id that stands for nothing is found")
	}
}

// An OPEN waits a moment for a search, not for as long as it takes: a LOOKUP
// finds its file sooner. Who gives up hears that, and not that the file is gone.
func TestOpenWaitsASecondForASearch(t *testing.T) {
	source := t.TempDir()
	putBlob(t, filepath.Join(source, "a.cipher"), "")
	f := unmounted(t, source)
	f.cfg.Decrypter = zeros{}
	f.resumed = true
	n, _, err := f.find("", "a")
	if err != nil {
		t.Fatal(err)
	}
	open := func(cancel <-chan struct{}) fuse.Status {
		h := fuse.InHeader{NodeId: n.id, Caller: fuse.Caller{Pid: 7}}
		return f.Open(&session.Request{InHeader: &h, Interrupted: cancel}, &fuse.OpenIn{InHeader: h}, &fuse.OpenOut{})
	}
	synctest.Test(t, func(t *testing.T) {
		f.search.walk = make(chan struct{}) // it never ends
		gaveUp := make(chan struct{})
		close(gaveUp)
		if status := open(gaveUp); status != fuse.EINTR {
			t.Errorf("who gave up hears %v", status)
		}
		f.mode.(*checked).staleRetry.take(7)
		begun := time.Now()
		if status := open(nil); status != fuse.Status(syscall.ESTALE) || time.Since(begun) != searchPatience {
			t.Errorf("%v after %v", status, time.Since(begun))
		}
	})
	if status := f.Lookup(about(rootID), "a", &fuse.EntryOut{}); !status.Ok() {
		t.Errorf("LOOKUP: %v", status)
	}
	if status := open(nil); !status.Ok() {
		t.Errorf("after the LOOKUP: %v", status)
	}
}
