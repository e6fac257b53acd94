package churn_test

import (
	"cmp"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/kmsfs/kmsfs/integration/harness"
)

const (
	churnSlow = time.Second // what one call of the key service takes
	// churnLimit is what a reader may wait, whatever happens: that call, and a
	// second; besides, what the machine takes to start a program at that time.
	churnLimit = churnSlow + time.Second
	// churnEnd is when a round must be over.
	churnEnd = 10 * time.Second
)

// Whatever happens to the processes of a mount, at whatever moment, nobody hangs:
// each reader gets an answer or an error in time, each process ends that has to,
// and what is to be served again is. KMSFS_SEED repeats a run, KMSFS_ROUNDS says
// how many rounds it has, and KMSFS_CHURN (as in service/fast) and KMSFS_HAPPENS
// (as in SIGKILL) are expressions for some of them.
func TestNobodyHangs(t *testing.T) {
	harness.NeedMount(t)
	seed := uint64(time.Now().UnixNano())
	if text := os.Getenv("KMSFS_SEED"); text != "" {
		var err error
		if seed, err = strconv.ParseUint(text, 10, 64); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("KMSFS_SEED=%d", seed)
	rounds := harness.Repetitions(20, 300)
	if text := os.Getenv("KMSFS_ROUNDS"); text != "" {
		var err error
		if rounds, err = strconv.Atoi(text); err != nil {
			t.Fatal(err)
		}
	}
	chosen, happens := regexp.MustCompile(os.Getenv("KMSFS_CHURN")), regexp.MustCompile(os.Getenv("KMSFS_HAPPENS"))
	control := t.TempDir()
	if err := unix.Mount("none", control, "fusectl", 0, ""); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Unmount(control, unix.MNT_DETACH) })
	var all []*churn
	for _, how := range []string{"foreground", "background", "service"} {
		var h *harness.Host
		for n, mode := range []string{"checked", "fast"} {
			name := how + "/" + mode
			if !chosen.MatchString(name) {
				continue
			}
			if how == "service" && h == nil {
				h = harness.BootKmsfs(t)
			}
			c := &churn{name: name, happens: happens, control: control, rng: rand.New(rand.NewPCG(seed, uint64(len(how)*2+n))), rows: map[string]*churnRow{}}
			c.prepare(t, how, mode, h)
			all = append(all, c)
		}
	}
	var wg sync.WaitGroup
	for _, c := range all {
		wg.Go(func() { c.run(rounds) })
	}
	wg.Wait()
	table := fmt.Sprintf("\n%-20s %-18s %6s %5s %9s %9s %9s %7s %8s %5s  %s\n", "", "", "rounds", "busy", "p50", "p99", "longest", "start", "right", "left", "errors")
	for _, c := range all {
		table += c.table()
		for _, failure := range c.failures {
			t.Errorf("%s: %s", c.name, failure)
		}
	}
	t.Log(table)
}

// churn is one mount, what is done to it, and what its readers see of that.
type churn struct {
	name    string
	happens *regexp.Regexp // of the actions, which
	control string         // where the kernel's list of connections is
	slow    func() error
	place   churnPlace
	way     churnWay
	rng     *rand.Rand
	blobs   map[string]string

	readers []*churner
	limit   atomic.Int64          // of their waits, for now
	serving atomic.Pointer[[]int] // the processes of the mount when the round began
	rows    map[string]*churnRow

	mu         sync.Mutex // guards what follows
	failures   []string
	late       []string // who was seen to wait for too long
	connection *os.File // ends it
}

// churnRow is what came of one action.
type churnRow struct {
	rounds, busy, left int
	waits
}

func (c *churn) prepare(t *testing.T, how, mode string, h *harness.Host) {
	c.limit.Store(int64(churnLimit))
	options := "ttl=1s,qps=1000,open=" + mode
	if how == "service" {
		own := harness.NewLabIn(t, h.Network())
		name := "churn-" + mode
		c.place = churnPlace{source: h.Path("/srv/" + name), seen: h.Path("/run/" + name), point: "/run/" + name}
		h.Put(t, "/etc/kmsfs/"+name+".ca.pem", harness.Read(t, own.CAFile))
		h.Put(t, "/etc/kmsfs/"+name+".env", "SRC=/srv/"+name+"\nMNT="+c.place.point+"\nOPTIONS="+options+
			",allow_emulator,endpoint="+own.Endpoint+",ca_file=/etc/kmsfs/"+name+".ca.pem\n")
		h.Put(t, "/etc/credstore/kmsfs."+name, harness.Read(t, h.Path("/etc/kmsfs/config.json")))
		c.way = &served{churnPlace: c.place, host: h, unit: "kmsfs@" + name + ".service"}
		c.slow = func() error { return own.Fault(slowCall) }
		c.blobs = churnBlobs(t, own)
	} else {
		own := harness.NewLab(t)
		point := t.TempDir()
		c.place = churnPlace{t.TempDir(), point, point}
		c.way = &direct{churnPlace: c.place, lab: own, background: how == "background", options: options + ",allow_emulator",
			logFile: filepath.Join(t.TempDir(), "log")}
		c.slow = func() error { return own.Fault(slowCall) }
		c.blobs = churnBlobs(t, own)
	}
	for name := range c.blobs {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(c.place.source, name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := c.replace(name); err != nil {
			t.Fatal(err)
		}
	}
}

var slowCall = map[string]any{"action": "Decrypt", "delay": churnSlow.String(), "count": 1}

func (c *churn) failf(format string, args ...any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.failures = append(c.failures, fmt.Sprintf(format, args...))
}

func (c *churn) failed() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.failures) > 0
}

// run does the rounds, up to the first that fails.
func (c *churn) run(rounds int) {
	over := make(chan struct{})
	var others sync.WaitGroup
	defer func() {
		close(over)
		others.Wait()
		c.clear()
	}()
	if err := c.attach(); err != nil {
		c.failf("%v\n%s", err, c.way.log())
		return
	}
	for _, role := range []string{"cat", "cat", "list", "list", "map", "splice", "start"} {
		r, err := startChurner(role, c.place.seen)
		if err != nil {
			c.failf("%v", err)
			return
		}
		c.readers = append(c.readers, r)
	}
	others.Go(func() { c.touch(over) })
	others.Go(func() { c.flush(over) })
	others.Go(func() { c.watch(over) })
	var order []churnAction
	for n := range rounds {
		if len(order) == 0 {
			order = slices.DeleteFunc(c.way.actions(), func(a churnAction) bool { return !c.happens.MatchString(a.name) })
			c.rng.Shuffle(len(order), func(i, j int) { order[i], order[j] = order[j], order[i] })
		}
		begun := time.Now()
		if err := c.round(order[0]); err != nil {
			c.failf("%s: %v", order[0].name, err)
		}
		if c.failed() {
			c.failf("that was round %d, %s, %v after its begin\n%s", n+1, order[0].name, time.Since(begun).Round(time.Millisecond), c.way.log())
			return
		}
		order = order[1:]
	}
}

func (c *churn) round(a churnAction) error {
	row := c.rows[a.name]
	if row == nil {
		row = &churnRow{}
		c.rows[a.name] = row
	}
	if err := c.answers(); err != nil {
		return err
	}
	taken(c.readers) // what was waited for between two rounds belongs to none
	rest(time.Duration(c.rng.IntN(500)) * time.Millisecond)
	if err := c.slow(); err != nil {
		return err
	}
	rest(time.Duration(c.rng.IntN(1200)) * time.Millisecond)
	before := c.way.processes()
	c.serving.Store(&before)
	c.limit.Store(int64(cmp.Or(a.limit, churnLimit)))
	defer c.limit.Store(int64(churnLimit))
	err := a.do()
	stays := a.stays
	switch {
	case errors.Is(err, errChurnBusy):
		row.busy++
		stays = true
	case err != nil:
		return err
	}
	if stays {
		err = c.answers()
	} else {
		err = c.ends(a, before)
	}
	row.left += len(c.stuck(before))
	row.rounds++
	seen := taken(c.readers)
	row.add(seen)
	if limit := cmp.Or(a.limit, churnLimit) + seen.start; seen.longest > limit {
		err = errors.Join(err, fmt.Errorf("a reader waited for %v\n%s", seen.longest, c.overdue()))
	}
	if seen.wrong > 0 {
		err = errors.Join(err, fmt.Errorf("%d answers had wrong bytes", seen.wrong))
	}
	if stays && seen.failed > a.allowed(seen) {
		err = errors.Join(err, fmt.Errorf("readers of a mount that stays get %s", seen.errors()))
	}
	if err != nil || stays {
		return err
	}
	return c.attach()
}

// attach mounts, and gets hold of what ends the mount if nothing else does.
func (c *churn) attach() error {
	if err := c.way.attach(); err != nil {
		return fmt.Errorf("mount: %w", err)
	}
	device, err := c.mounted()
	if err != nil {
		return err
	}
	connection, err := os.OpenFile(filepath.Join(c.control, strings.TrimPrefix(device, "0:"), "abort"), os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.connection != nil {
		c.connection.Close()
	}
	c.connection = connection
	return nil
}

// mounted is the number of the device that is mounted, empty if none is.
func (c *churn) mounted() (device string, err error) {
	table, err := c.way.table()
	for line := range strings.Lines(table) {
		if f := strings.Fields(line); len(f) > 4 && f[4] == c.place.point && strings.Contains(line, " - fuse.kmsfs ") {
			device = f[2]
		}
	}
	return device, err
}

// answers waits until every reader gets right bytes, or names.
func (c *churn) answers() error {
	before := map[*churner]int64{}
	for _, r := range c.readers {
		before[r] = r.right.Load()
	}
	return withinTime(churnEnd, "the mount answers everybody", func() bool {
		return !slices.ContainsFunc(c.readers, func(r *churner) bool { return r.role != "list" && r.role != "start" && r.right.Load() <= before[r] })
	})
}

// ends waits until nothing is left of a mount.
func (c *churn) ends(a churnAction, processes []int) error {
	var left []int
	err := withinTime(churnEnd, "its processes have ended", func() bool {
		left = slices.DeleteFunc(append(c.way.processes(), processes...), func(pid int) bool { return unix.Kill(pid, 0) != nil })
		return len(left) == 0
	})
	for _, pid := range slices.Compact(left) {
		err = fmt.Errorf("%w\n%s", err, whereabouts(pid))
	}
	if err != nil {
		return err
	}
	if a.dead {
		unix.Unmount(c.place.point, unix.MNT_DETACH)
	}
	return withinTime(churnEnd, "the mount is gone", func() bool {
		device, err := c.mounted()
		return err == nil && device == ""
	})
}
