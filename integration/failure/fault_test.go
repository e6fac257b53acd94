package failure_test

import (
	"testing"
	"time"

	"github.com/kmsfs/kmsfs/integration/harness"
)

// While page faults in many files wait for a service that hangs, a page fault
// in one that needs no call does not.
func TestHangingFaultsBlockNobodyElse(t *testing.T) {
	harness.EachModeAtOnce(t, testHangingFaults)
}

func testHangingFaults(t *testing.T, mode string) {
	l := harness.NewLab(t)
	m := harness.Mount(t, l, "", "timeout=30s", mode)
	const blocked = 64
	flush := []string{"flush", m.Point}
	var hanging []*harness.Toucher
	// One ciphertext under two names: the page of one is in no page cache,
	// and the plaintext is there for both.
	blob := harness.Seal(t, l, "cached")
	harness.Put(t, m.InSource("cached.cipher"), blob)
	harness.Put(t, m.InSource("twin.cipher"), blob)
	twin := harness.MapFile(t, "private", m.Path("twin"))
	for i := range blocked {
		name := "f" + harness.Itoa(i)
		harness.Put(t, m.InSource(name+".cipher"), harness.Seal(t, l, "file "+harness.Itoa(i)))
		hanging = append(hanging, harness.MapFile(t, "private", m.Path(name)))
		flush = append(flush, m.Path(name))
	}
	waiting := requests(t, m)
	if _, err := l.Kmsfs(nil, flush...); err != nil {
		t.Fatal(err)
	}
	if got := harness.Read(t, m.Path("cached")); got != "cached" {
		t.Fatalf("reads %q", got)
	}
	if err := l.Fault(map[string]any{"action": "Decrypt", "hang": true}); err != nil {
		t.Fatal(err)
	}
	for _, p := range hanging {
		p.Begin()
	}
	waiting(blocked)
	begun := time.Now()
	if got := twin.Touch(); got != "c" {
		t.Errorf("the cached file's mapping reads %q", got)
	}
	if took := time.Since(begun); took > 2*time.Second {
		t.Errorf("a page fault in a cached file took %v: it waits for the service", took)
	}
	if err := l.ClearFaults(); err != nil {
		t.Fatal(err)
	}
	for i, p := range hanging {
		if got := p.Hear(); got != "f" {
			t.Errorf("mapping %d reads %q", i, got)
		}
	}
}
