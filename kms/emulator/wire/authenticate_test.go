package wire

import (
	"strconv"
	"testing"
	"time"
)

func TestTimestamp(t *testing.T) {
	now := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	for s, want := range map[string]*Error{
		"2026-11-23T12:00:00Z":      nil,
		"2026-11-23T11:45:00Z":      nil,
		"2026-11-23T12:15:00Z":      nil,
		"2026-11-23T11:44:59Z":      errTimeExpired,
		"2026-11-23T12:15:01Z":      errTimeExpired,
		"":                          errTimeMissing,
		"2026-11-23T12:00:00.5Z":    errTimeFormat,
		"2026-11-23T12:00:00+00:00": errTimeFormat,
		"2026-11-23 12:00:00":       errTimeFormat,
		"1795435200":                errTimeFormat,
	} {
		if got := checkTimestamp(s, now); got != want {
			t.Errorf("%q: got %v, want %v", s, got, want)
		}
	}
}

func TestNonces(t *testing.T) {
	var u nonces
	now := time.Now()
	if !u.use("a", now) || u.use("a", now) || !u.use("b", now) {
		t.Error("a new nonce is used, or a used one is new")
	}
	if u.use("a", now.Add(signatureWindow-1)) {
		t.Error("forgotten too early")
	}
	// Still remembered after the generations changed places.
	late := now.Add(signatureWindow - 1)
	if !u.use("c", late) || !u.use("d", now.Add(signatureWindow+1)) || u.use("c", now.Add(signatureWindow+2)) {
		t.Error("lost with the change of generation")
	}
	if !u.use("a", now.Add(signatureWindow)) {
		t.Error("remembered too long")
	}
	for i := range 3 * maxNonces {
		u.use(strconv.Itoa(i), late)
	}
	if n := len(u.young) + len(u.old); n > 2*maxNonces {
		t.Errorf("%d nonces remembered", n)
	}
}
