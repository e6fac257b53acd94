// Command bench measures kmsfs beside tmpfs, the loopback example of go-fuse,
// gocryptfs and a server in C that does nothing, all on one machine at one time, and says which of its targets
// are met. What is compared takes turns in short rounds, and what is reported
// is the median of the rounds' ratios: a machine whose speed drifts, or that
// others use as well, changes it little. It leaves nothing behind, however it
// ends.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT, syscall.SIGPIPE)
	defer stop()
	bin := flag.String("bin", "bin", "directory of kmsfs, kms-emulator and loopback")
	readme := flag.String("readme", "", "rewrite the table in this `FILE`")
	only := flag.String("only", "", "measure only what has this `WORD` in its name")
	quick := flag.Bool("quick", false, "few and short rounds: to see that everything works")
	flag.Parse()
	// More than there are threads in the loops: no thread that waits in the
	// kernel has its processor taken away, and none waits for one.
	runtime.GOMAXPROCS(16)
	if err := run(ctx, *bin, *readme, *only, *quick); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, bin, readme, only string, quick bool) (err error) {
	if os.Geteuid() != 0 {
		return errors.New("mounting needs root")
	}
	if bin, err = filepath.Abs(bin); err != nil {
		return err
	}
	b := &bench{bin: bin, only: only, rounds: 41, slice: 15 * time.Millisecond, listings: 5, cold: 41, storms: 3, starts: 21, replaced: 10}
	if quick {
		b.rounds, b.slice, b.listings, b.cold, b.storms, b.starts, b.replaced = 9, 5*time.Millisecond, 1, 7, 1, 5, 1
	}
	defer func() { err = errors.Join(err, b.cleanUp()) }()
	begun := time.Now()
	if err := b.prepare(ctx); err != nil {
		return err
	}
	b.say("prepared in %.1f s", time.Since(begun).Seconds())
	rows, err := b.measure(ctx)
	if err != nil {
		return err
	}
	where, err := b.machine()
	if err != nil {
		return err
	}
	text := table(rows, where)
	fmt.Printf("\n%s\n", text)
	b.say("done in %.0f s", time.Since(begun).Seconds())
	if readme == "" {
		return nil
	}
	if quick || only != "" {
		return errors.New("figures of -quick and -only are not for a README")
	}
	return writeSection(readme, text)
}

// measure takes all measurements, each with its own mounts; those that load
// the machine most come last.
func (b *bench) measure(ctx context.Context) (rows []row, err error) {
	for _, m := range []struct {
		name string
		do   func(context.Context) ([]row, error)
	}{
		{"cached files", b.measureCached},
		{"listings", b.measureListings},
		{"replaced files", b.measureReplaced},
		{"start and memory", b.measureStart},
		{"cold files", b.measureCold},
		{"many cold files", b.measureStorm},
		{"herd", b.measureHerd},
	} {
		if !strings.Contains(m.name, b.only) {
			continue
		}
		begun := time.Now()
		more, err := m.do(ctx)
		if ctx.Err() != nil {
			return nil, errors.New("interrupted")
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", m.name, err)
		}
		rows = append(rows, more...)
		b.say("measured %s in %.1f s", m.name, time.Since(begun).Seconds())
	}
	return rows, nil
}
