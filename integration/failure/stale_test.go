package failure_test

import (
	"errors"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/kmsfs/kmsfs/integration/harness"
	"github.com/kmsfs/kmsfs/integration/lab"
)

// outages are ways for the key service to give no answer.
var outages = []struct {
	name       string
	begin, end func(*testing.T, *lab.Lab)
}{
	{"killed", func(_ *testing.T, l *lab.Lab) { l.KillEmulator() }, func(t *testing.T, l *lab.Lab) {
		if err := l.StartEmulator(l.Endpoint); err != nil {
			t.Fatal(err)
		}
	}},
	{"failing", meets(map[string]any{"status": 503}), meets(nil)},
	{"throttling", meets(map[string]any{"status": 429}), meets(nil)},
	{"hanging", meets(map[string]any{"hang": true}), meets(nil)},
	{"rejecting our credentials", meets(map[string]any{"code": "InvalidAccessKeyId.NotFound"}), meets(nil)},
}

// meets makes a fault the only one that Decrypt meets; nil: none.
func meets(fault map[string]any) func(*testing.T, *lab.Lab) {
	return func(t *testing.T, l *lab.Lab) {
		t.Helper()
		if err := l.ClearFaults(); err != nil {
			t.Fatal(err)
		}
		if fault == nil {
			return
		}
		with := map[string]any{"action": "Decrypt"}
		for k, v := range fault {
			with[k] = v
		}
		if err := l.Fault(with); err != nil {
			t.Fatal(err)
		}
	}
}

// An outage is bridged until ttl and stale have passed, not longer, and ends
// for the readers when it ends.
func TestStaleBridgesAnOutageAndNoLonger(t *testing.T) {
	t.Parallel() // it waits much more than it works
	harness.EachModeAtOnce(t, func(t *testing.T, mode string) {
		tests := map[string]func(*testing.T){}
		for _, o := range outages {
			tests[o.name] = func(t *testing.T) {
				const ttl, stale = 2 * time.Second, 8 * time.Second
				l := harness.NewLab(t)
				m := harness.Mount(t, l, "", mode, "ttl="+ttl.String(), "stale="+stale.String(), "timeout=3s")
				harness.Put(t, m.InSource("a.cipher"), harness.Seal(t, l, "bridged"))
				before := time.Now() // of the load
				harness.Read(t, m.Path("a"))
				after := time.Now()
				o.begin(t, l)
				served := 0
				for {
					begun := time.Now()
					b, err := os.ReadFile(m.Path("a"))
					if err != nil {
						if d := time.Since(before); d < ttl+stale {
							t.Fatalf("after %v: %v\n%s", d, err, m.Tail())
						}
						break
					}
					if string(b) != "bridged" {
						t.Fatalf("reads %q", b)
					}
					if d := begun.Sub(after); d > ttl+stale+harness.ReadSlack(mode) {
						t.Fatalf("served %v after its load", d)
					}
					if begun.Sub(after) > ttl {
						served++
					}
					time.Sleep(20 * time.Millisecond) // the pace of a reader, not a wait for anything
				}
				if served == 0 {
					t.Error("nothing was served stale")
				}
				m.WaitLog(t, "level=WARN", `msg="stale plaintext is served"`, "path=a.cipher")
				if s := harness.StatusOf(t, l, m.Point).Cache; s.StaleServed == 0 || mode != "open=fast" && s.StaleServed < served || s.Entries != 0 || s.Bytes != 0 {
					t.Errorf("%d reads were stale: %+v", served, s)
				}
				o.end(t, l)
				(&failing{T: t, Lab: l, Mounted: m}).recovers(m.Path("a"), "bridged")
			}
		}
		harness.Together(t, tests)
	})
}

// A refusal during an outage ends it: what is stale is purged, and a second
// outage finds nothing to serve.
func TestRefusalEndsStale(t *testing.T) {
	t.Parallel() // it waits much more than it works
	harness.EachModeAtOnce(t, func(t *testing.T, mode string) {
		tests := map[string]func(*testing.T){}
		for name, c := range map[string]struct {
			refusal map[string]any
			want    syscall.Errno
		}{
			"denied":   {map[string]any{"status": 403, "code": "Forbidden.NoPermission"}, syscall.EACCES},
			"disabled": {map[string]any{"status": 409, "code": "Rejected.Disabled"}, syscall.EKEYREVOKED},
		} {
			tests[name] = func(t *testing.T) {
				l := harness.NewLab(t)
				m := harness.Mount(t, l, "", mode, "ttl=2s", "stale=1h", "timeout=3s")
				harness.Put(t, m.InSource("a.cipher"), harness.Seal(t, l, "secret"))
				harness.Read(t, m.Path("a"))
				away := meets(map[string]any{"status": 503})
				away(t, l)
				harness.Eventually(t, "the TTL is over", func() bool { return harness.StatusOf(t, l, m.Point).Cache.Stale == 1 })
				if got := harness.Read(t, m.Path("a")); got != "secret" {
					t.Fatalf("reads %q", got)
				}
				if s := harness.StatusOf(t, l, m.Point).Cache; s.StaleServed == 0 || s.Stale != 1 {
					t.Fatalf("%+v", s)
				}
				meets(c.refusal)(t, l)
				harness.Eventually(t, "the refusal is seen", func() bool {
					_, err := os.ReadFile(m.Path("a"))
					return errors.Is(err, c.want)
				})
				if s := harness.StatusOf(t, l, m.Point).Cache; s.Entries != 0 || s.Bytes != 0 {
					t.Errorf("a refusal left %+v", s)
				}
				away(t, l)
				harness.Eventually(t, "the refusal is forgotten", func() bool {
					b, err := os.ReadFile(m.Path("a"))
					if err == nil {
						t.Fatalf("in the next outage: %q", b)
					}
					return errors.Is(err, syscall.EIO)
				})
			}
		}
		harness.Together(t, tests)
	})
}

// Whoever blocks the network to hide that a key was disabled gains ttl and
// stale, and no more.
func TestBlockedNetworkHidesADisabledKeyForStaleAtMost(t *testing.T) {
	t.Parallel() // it waits much more than it works
	harness.EachModeAtOnce(t, func(t *testing.T, mode string) {
		const ttl, stale = 2 * time.Second, 4 * time.Second
		l := harness.NewLab(t)
		m := harness.Mount(t, l, "", mode, "ttl="+ttl.String(), "stale="+stale.String(), "timeout=2s")
		s := &failing{T: t, Lab: l, Mounted: m}
		s.key = harness.KeyOfAlias(t, l)
		harness.Put(t, m.InSource("a.cipher"), harness.Seal(t, l, "secret"))
		harness.Read(t, m.Path("a"))
		loaded := time.Now()
		meets(map[string]any{"close": true})(t, l)
		s.disableKey()
		for time.Since(loaded) < ttl+stale+harness.ReadSlack(mode) { // it does not help to ask
			os.ReadFile(m.Path("a"))
			time.Sleep(20 * time.Millisecond) // the pace of a reader, not a wait for anything
		}
		if b, err := os.ReadFile(m.Path("a")); err == nil {
			t.Errorf("served %v after its load: %q", time.Since(loaded), b)
		}
		if c := harness.StatusOf(t, l, m.Point).Cache; c.StaleServed == 0 || c.Bytes != 0 {
			t.Errorf("%+v", c)
		}
		meets(nil)(t, l)
		harness.Eventually(t, "the refusal is seen", func() bool {
			_, err := os.ReadFile(m.Path("a"))
			return errors.Is(err, syscall.EKEYREVOKED)
		})
	})
}

// While the breaker is open nobody waits for the service.
func TestStaleDoesNotWaitForTheBreaker(t *testing.T) {
	t.Parallel() // it waits much more than it works
	harness.EachModeAtOnce(t, func(t *testing.T, mode string) {
		const files = 20
		l := harness.NewLab(t)
		m := harness.Mount(t, l, "", mode, "ttl=2s", "stale=1h")
		for i := range files {
			harness.Put(t, m.InSource("f"+harness.Itoa(i)+".cipher"), harness.Seal(t, l, "file"))
		}
		for i := range files {
			harness.Read(t, m.Path("f"+harness.Itoa(i)))
		}
		meets(map[string]any{"hang": true})(t, l)
		harness.Eventually(t, "the TTL of all is over", func() bool { return harness.StatusOf(t, l, m.Point).Cache.Stale == files })
		for i := range 4 {
			harness.Read(t, m.Path("f"+harness.Itoa(i)))
		}
		harness.Eventually(t, "the breaker is open", func() bool { return harness.StatusOf(t, l, m.Point).KMS.Breaker == "open" })
		begun := time.Now()
		for i := 4; i < files; i++ {
			harness.Read(t, m.Path("f"+harness.Itoa(i)))
		}
		if d := time.Since(begun); d > (files-4)*time.Second/2 { // a probe may wait
			t.Errorf("%d stale files took %v", files-4, d)
		}
	})
}
