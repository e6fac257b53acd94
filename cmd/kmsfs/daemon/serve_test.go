package daemon

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/kmsfs/kmsfs/cache"
	"github.com/kmsfs/kmsfs/kms"
)

// What a failure means for the plaintext that is kept, and how long it is the
// answer itself.
func TestFailuresOfLoads(t *testing.T) {
	for _, c := range []struct {
		err  error
		want cache.Trouble
		last time.Duration
	}{
		{&kms.Error{Class: kms.ErrTransient}, cache.Unavailable, failedFor},
		{&kms.Error{Class: kms.ErrAuthentication}, cache.Unavailable, failedFor},
		{&kms.Error{Class: kms.ErrConfiguration}, cache.Unavailable, failedFor},
		{fmt.Errorf("load: %w", cache.ErrLate), cache.Unavailable, failedFor},
		{&kms.Error{Class: kms.ErrDenied}, cache.Refused, failedFor},
		{&kms.Error{Class: kms.ErrKeyState}, cache.Refused, failedFor},
		{&kms.Error{Class: kms.ErrBadCiphertext}, cache.Refused, badFor},
		{&kms.Error{Class: kms.ErrBadAnswer}, cache.Failed, badFor},
		{errors.New("other"), cache.Failed, failedFor},
	} {
		if got := troubleOf(c.err); got != c.want {
			t.Errorf("%v: %v, want %v", c.err, got, c.want)
		}
		if got := rememberFor(c.err); got != c.last {
			t.Errorf("%v is remembered for %v", c.err, got)
		}
	}
}

// What has been put together is undone in the other order.
func TestCloseUndoesBackwards(t *testing.T) {
	var done []int
	d := &daemon{}
	for i := range 3 {
		d.undo = append(d.undo, func() { done = append(done, i) })
	}
	d.close()
	if fmt.Sprint(done) != "[2 1 0]" {
		t.Error(done)
	}
}
