package secrecy_test

import (
	"encoding/json"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/kmsfs/kmsfs/integration/harness"
	"github.com/kmsfs/kmsfs/integration/lab"
)

// mapping is one of a process's.
type mapping struct {
	from, to uint64
	perms    string
	name     string
	flags    []string // VmFlags
}

// arena says that it is memory for plaintext: locked, and left out of cores.
func (m mapping) arena() bool {
	return slices.Contains(m.flags, "dd") && slices.Contains(m.flags, "lo")
}

var mappingLine = regexp.MustCompile(`^([0-9a-f]+)-([0-9a-f]+) (\S+) \S+ \S+ \d+ *(.*)\n`)

func mappings(t testing.TB, pid int) []mapping {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps", pid))
	if err != nil {
		t.Fatal(err)
	}
	var all []mapping
	for line := range strings.Lines(string(text)) {
		if f := mappingLine.FindStringSubmatch(line); f != nil {
			m := mapping{perms: f[3], name: f[4]}
			if _, err := fmt.Sscanf(f[1]+" "+f[2], "%x %x", &m.from, &m.to); err != nil {
				t.Fatal(err)
			}
			all = append(all, m)
		} else if flags, ok := strings.CutPrefix(line, "VmFlags:"); ok {
			all[len(all)-1].flags = strings.Fields(flags)
		}
	}
	return all
}

// inMemory looks for canaries in all of a process's memory.
func inMemory(t testing.TB, pid int, canaries ...canary) (arena, outside []sighting) {
	t.Helper()
	mem, err := os.Open(fmt.Sprintf("/proc/%d/mem", pid))
	if err != nil {
		t.Fatal(err)
	}
	defer mem.Close()
	for _, m := range mappings(t, pid) {
		if m.perms[0] != 'r' || strings.HasPrefix(m.name, "[v") {
			continue // nothing there, or the kernel's
		}
		found, err := search(mem, m.from, m.to-m.from, canaries...)
		if err != nil {
			t.Logf("%s %s: %v", m.name, m.perms, err) // given back just now
		}
		for _, s := range found {
			s.where, s.arena = m.perms+" "+m.name, m.arena()
			if s.arena {
				arena = append(arena, s)
			} else {
				outside = append(outside, s)
			}
		}
	}
	return arena, outside
}

const (
	// connectionCopies is how many copies, or parts of one, a connection may
	// leave in memory: its buffers are cleared when they wait.
	connectionCopies = 0
	// maxConnections is how many connections kmsfs has at most.
	maxConnections = 32
)

// outsideAtMost fails the test if there is more outside the arena than so many
// connections may leave there.
func outsideAtMost(t testing.TB, when string, outside []sighting, connections int) {
	t.Helper()
	n := len(copies(outside))
	t.Logf("%s: %d copies outside the arena, %d in saved registers", when, n, len(outside)-n)
	if n > connections*connectionCopies {
		t.Errorf("%s: that is more than %d connections explain:\n%v", when, connections, outside)
	}
}

// controlled fails the test unless memory that nobody protects is found.
func controlled(t testing.TB, c canary) {
	t.Helper()
	pid, _ := hold(t, c)
	if _, found := inMemory(t, pid, c); len(found) == 0 {
		t.Fatal("the search does not find what is in memory")
	}
}

// A plaintext is in the arena while it lives, and nowhere after it.
func TestCanaryIsInTheArenaOnly(t *testing.T) {
	const ttl = 2 * time.Second
	l := harness.NewLab(t)
	m := harness.Mount(t, l, "", "ttl="+ttl.String())
	c := newCanary()
	controlled(t, c)
	harness.Put(t, m.InSource("a.cipher"), harness.Seal(t, l, c.text))
	others := make([]canary, 6)
	for i := range others {
		others[i] = newCanary()
		harness.Put(t, m.InSource("other"+harness.Itoa(i)+".cipher"), harness.Seal(t, l, others[i].text))
	}
	harness.Read(t, m.Path("a"))
	arena, outside := inMemory(t, m.PID, c)
	if len(arena) != 1 || arena[0].words != canaryRepeats {
		t.Errorf("in the arena, alive: %v", arena)
	}
	outsideAtMost(t, "alive", outside, 1)
	harness.Eventually(t, "wiped", func() bool {
		arena, outside = inMemory(t, m.PID, c)
		return len(arena) == 0
	})
	outsideAtMost(t, "expired", outside, 1)
	for i, o := range others {
		if harness.Read(t, m.Path("other"+harness.Itoa(i))) != o.text {
			t.Error("wrong bytes")
		}
	}
	if arena, outside = inMemory(t, m.PID, c); len(arena) > 0 {
		t.Errorf("again in the arena: %v", arena)
	}
	outsideAtMost(t, "after further answers", outside, 1)
	// Each reader's answer by a connection of its own.
	for i := range others {
		others[i] = newCanary()
		harness.Put(t, m.InSource("other"+harness.Itoa(i)+".cipher"), harness.Seal(t, l, others[i].text))
	}
	var all sync.WaitGroup
	for i := range others {
		for range 4 {
			all.Go(func() {
				if b, err := os.ReadFile(m.Path("other" + harness.Itoa(i))); err != nil || string(b) != others[i].text {
					t.Errorf("%d bytes, %v", len(b), err)
				}
			})
		}
	}
	all.Wait()
	harness.Eventually(t, "all wiped", func() bool {
		arena, outside = inMemory(t, m.PID, others...)
		return len(arena) == 0
	})
	outsideAtMost(t, "expired, by many connections", outside, maxConnections)
	spotless(t, l, m, append(others, c)...)
}

// spotless fails the test if a canary is in the log, beside the emulator's
// state, or in the source.
func spotless(t testing.TB, l *lab.Lab, m *harness.Mounted, canaries ...canary) {
	t.Helper()
	log := strings.NewReader(m.Log())
	if found, err := search(log, 0, uint64(log.Len()), canaries...); err != nil || len(found) > 0 {
		t.Errorf("in the log: %v, %v", found, err)
	}
	for _, dir := range []string{l.Dir, m.Source} {
		if found := inTree(t, dir, canaries...); len(found) > 0 {
			t.Errorf("on disk: %v", found)
		}
	}
}

// What was evicted, and what was refused, is not kept either.
func TestCanaryEvictedOrRefusedIsGone(t *testing.T) {
	l := harness.NewLab(t)
	m := harness.Mount(t, l, "", "cache_size=64KiB", "timeout=1s")
	c := newCanary()
	controlled(t, c)
	harness.Put(t, m.InSource("a.cipher"), harness.Seal(t, l, c.text))
	harness.Read(t, m.Path("a"))
	if arena, _ := inMemory(t, m.PID, c); len(arena) != 1 {
		t.Fatalf("in the arena: %v", arena)
	}
	for i := range 8 { // of 8 KiB each
		harness.Put(t, m.InSource("filler.cipher"), harness.Seal(t, l, harness.Lengthy("filler"+harness.Itoa(i), 6000)))
		harness.Read(t, m.Path("filler"))
	}
	arena, outside := inMemory(t, m.PID, c)
	if len(arena) > 0 {
		t.Errorf("evicted: %v", arena)
	}
	outsideAtMost(t, "evicted", outside, 1)

	short, cut := newCanary(), newCanary()
	quoted, err := json.Marshal(short.text)
	if err != nil {
		t.Fatal(err)
	}
	harness.Put(t, m.InSource("short.cipher"), harness.Seal(t, l, "does not fit"))
	harness.Put(t, m.InSource("cut.cipher"), harness.Seal(t, l, cut.text))
	for name, fault := range map[string]map[string]any{
		"short": {"action": "Decrypt", "raw": `{"KeyId":"k","KeyVersionId":"00000000-0000-0000-0000-000000000000","Plaintext":` + string(quoted) + `,"RequestId":"raw-answer"}`},
		"cut":   {"action": "Decrypt", "truncate": 1500},
	} {
		if err := l.Fault(fault); err != nil {
			t.Fatal(err)
		}
		if b, err := os.ReadFile(m.Path(name)); err == nil {
			t.Errorf("%s: served %d bytes", name, len(b))
		}
		if err := l.ClearFaults(); err != nil {
			t.Fatal(err)
		}
	}
	if arena, outside = inMemory(t, m.PID, short, cut); len(arena) > 0 {
		t.Errorf("refused: %v", arena)
	}
	outsideAtMost(t, "refused", outside, maxConnections)
	spotless(t, l, m, c, short, cut)
}
