package fs

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"

	"github.com/kmsfs/kmsfs/cache"
	"github.com/kmsfs/kmsfs/fs/source"
	"github.com/kmsfs/kmsfs/kms"
)

// Whatever a name holds, its printed form is plain ASCII and tells every byte.
func FuzzPrintable(f *testing.F) {
	for _, s := range []string{"key.pem", "a\nb", "\x1b[0m", "\u009b", "\u202e", "\xff", "\xfe", `"`, `\`, "é", ""} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		p := printable(s)
		for _, c := range []byte(p) {
			if c < 0x20 || c > 0x7e {
				t.Fatalf("%q is printed with byte %#x", s, c)
			}
		}
		back := p
		if strings.HasPrefix(p, `"`) {
			var err error
			if back, err = strconv.Unquote(p); err != nil {
				t.Fatal(err)
			}
		}
		if back != s {
			t.Fatalf("%q is printed as %s", s, p)
		}
	})
}

func TestLoadStatus(t *testing.T) {
	class := func(err error) error { return fmt.Errorf("load: %w", &kms.Error{Class: err, Action: "Decrypt"}) }
	for _, c := range []struct {
		err  error
		want syscall.Errno
	}{
		{class(kms.ErrDenied), syscall.EACCES},
		{class(kms.ErrAuthentication), syscall.EACCES},
		{class(kms.ErrKeyState), syscall.EKEYREVOKED},
		{class(kms.ErrBadCiphertext), syscall.EBADMSG},
		{class(kms.ErrBadAnswer), syscall.EIO},
		{class(kms.ErrTransient), syscall.EIO},
		{class(kms.ErrInvalid), syscall.EIO},
		{&kms.Error{Class: kms.ErrTransient, Cause: context.DeadlineExceeded}, syscall.ETIMEDOUT},
		{&kms.Error{Class: kms.ErrTransient, Cause: context.Canceled}, syscall.EINTR},
		{context.Canceled, syscall.EINTR},
		{os.ErrDeadlineExceeded, syscall.ETIMEDOUT},
		{cache.ErrFull, syscall.ENOMEM},
		{cache.ErrClosed, syscall.EIO},
		{errors.New("anything else"), syscall.EIO},
	} {
		if got := loadStatus(c.err); got != fuse.Status(c.want) {
			t.Errorf("%v: %v, want %v", c.err, got, c.want)
		}
	}
	for err, want := range map[error]syscall.Errno{
		syscall.ENOENT: syscall.ENOENT, syscall.EAGAIN: syscall.EIO, syscall.EACCES: syscall.EACCES, syscall.ENOTDIR: syscall.ENOENT,
		syscall.EXDEV: syscall.EXDEV, syscall.EINVAL: syscall.EIO, source.ErrTorn: syscall.EIO, errors.New("else"): syscall.EIO,
	} {
		if got := sourceStatus(err); got != fuse.Status(want) {
			t.Errorf("%v: %v, want %v", err, got, want)
		}
	}
}

func TestTold(t *testing.T) {
	told := &told{at: map[uint32]time.Time{}}
	if _, ok := told.take(7); ok {
		t.Error("nobody was told")
	}
	told.remember(7)
	if at, ok := told.take(7); !ok || time.Since(at) > toldFor {
		t.Error("not remembered")
	}
	if _, ok := told.take(7); ok {
		t.Error("remembered twice")
	}
	for tid := range uint32(5000) {
		told.at[tid] = time.Now().Add(-2 * toldFor)
	}
	told.remember(1)
	if len(told.at) != 1 {
		t.Errorf("%d threads are remembered", len(told.at))
	}
}

func TestRecent(t *testing.T) {
	r := &recent{}
	before := time.Now()
	r.keep(1, before.Add(time.Millisecond), content{bad: "one"})
	if c, ok := r.since(1, before); !ok || c.bad != "one" {
		t.Error("not kept")
	}
	if _, ok := r.since(1, before.Add(time.Millisecond)); ok {
		t.Error("kept from before the instant")
	}
	for id := range uint64(len(r.ring)) {
		r.keep(id+100, before, content{})
	}
	if _, ok := r.since(1, time.Time{}); ok {
		t.Error("kept for ever")
	}
}

func TestParseContent(t *testing.T) {
	for text, want := range map[string]string{
		"":                                "empty",
		"age-encryption.org/v1\n":         "age file",
		"-----BEGIN AGE ENCRYPTED FILE--": "age file",
		"<html>":                          "an HTML page",
	} {
		if c := parseContent([]byte(text), false); !strings.Contains(c.bad, want) {
			t.Errorf("%q: %q, want %q", text, c.bad, want)
		}
	}
	if c := parseContent(nil, true); !strings.Contains(c.bad, "longer") {
		t.Errorf("too long: %q", c.bad)
	}
}

func TestReply(t *testing.T) {
	r := &reply{parts: [1][]byte{[]byte("abc")}}
	if parts, status := r.Slices(); !status.Ok() || r.Size() != 3 || !bytes.Equal(parts[0], []byte("abc")) {
		t.Error("reply")
	}
}
