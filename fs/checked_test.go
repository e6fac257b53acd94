package fs

import (
	"errors"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// An OPEN serves what the source has; if that is another version than was looked
// up, the kernel looks once more, and then the LOOKUP's version is served, or, where
// there was no LOOKUP, the source's. Where nothing is left, nothing is served.
func TestWhichVersionAnOpenServes(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "a.cipher")
	putBlob(t, path, "before")
	f := unmounted(t, dir)
	before, was, err := f.lookFile("a.cipher")
	if err != nil {
		t.Fatal(err)
	}
	putBlob(t, path, "after")
	after, _, err := f.lookFile("a.cipher")
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		found    *node
		err      error
		tid      uint32
		retry    bool
		lookedUp bool // since the ESTALE
		torn     bool
		want     choice
	}{
		"left alone":                         {found: before, tid: 7, want: current},
		"left alone, second try":             {found: before, tid: 7, retry: true, lookedUp: true, want: current},
		"replaced":                           {found: after, tid: 7, want: firstTry},
		"replaced, and looked up before":     {found: after, tid: 7, lookedUp: true, want: firstTry},
		"replaced after the second LOOKUP":   {found: after, tid: 7, retry: true, lookedUp: true, want: lookedUp},
		"that LOOKUP read half a write":      {found: after, tid: 7, retry: true, lookedUp: true, torn: true, want: pinned},
		"no second LOOKUP, as of /proc/self": {found: after, tid: 7, retry: true, want: pinned},
		"of an unknown thread":               {found: after, lookedUp: true, want: lookedUp},
		"of an unknown thread, no LOOKUP":    {found: after, want: pinned},
		"removed":                            {err: syscall.ENOENT, tid: 7, want: firstTry},
		"removed after the second LOOKUP":    {err: syscall.ENOENT, tid: 7, retry: true, lookedUp: true, want: lookedUp},
		"removed for good":                   {err: syscall.ENOENT, tid: 7, retry: true, want: gone},
		"a link or a directory by now":       {err: syscall.ELOOP, tid: 7, want: firstTry},
		"cannot be read":                     {err: syscall.EIO, tid: 7, want: gone},
		"cannot be read, second try":         {err: errors.New("else"), tid: 7, retry: true, lookedUp: true, want: gone},
	} {
		m := newMode(f, false).(*checked)
		o := &opening{checked: m, node: before, tid: c.tid, retry: c.retry, at: time.Now().Add(-time.Second)}
		if c.lookedUp {
			m.looked.keep(looked{node: before, content: was, seen: time.Now()})
		}
		got, then := o.choose(c.found, c.err, c.torn)
		if got != c.want {
			t.Errorf("%s: %d, want %d", name, got, c.want)
		}
		if (then.kind != nil) != (got == lookedUp) || got == lookedUp && then.hash != before.hash {
			t.Errorf("%s: served %v", name, then)
		}
		if _, remembered := m.staleRetry.take(7); remembered != (got == firstTry) {
			t.Errorf("%s: the thread is remembered: %t", name, remembered)
		}
	}
}
