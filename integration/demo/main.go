// Command demo shows kmsfs at work: a private key that is never a file, from
// its generation to a TLS handshake. It needs no network and no account, says
// what it does, and leaves nothing behind, however it ends.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

func main() {
	ctx := untilSignal()
	bin := flag.String("bin", "bin", "directory of kmsfs and kms-emulator")
	d := &demo{out: os.Stdout}
	flag.BoolVar(&d.keep, "keep", false, "stay mounted until Ctrl-C")
	flag.IntVar(&d.generation, "generation", 1, "of the key: 1, or 3 for KMS 3.0")
	flag.IntVar(&d.pause, "pause", 0, "wait for Ctrl-C after step `N`")
	flag.Parse()
	os.Exit(d.run(ctx, *bin))
}

func (d *demo) run(ctx context.Context, bin string) int {
	var err error
	if d.bin, err = filepath.Abs(bin); err == nil {
		// No core file of anything started from here has a key in it.
		err = unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{})
	}
	if err == nil {
		err = d.show(ctx)
	}
	if err != nil {
		awaitSignal(ctx)
	}
	var stop interrupted
	caught := errors.As(context.Cause(ctx), &stop)
	switch {
	case caught && d.kept:
		fmt.Fprintln(d.out)
	case caught:
		fmt.Fprintf(d.out, "\n%v: cleaning up\n", stop)
	case err != nil:
		fmt.Fprintf(os.Stderr, "demo: %v\n", err)
	}
	if cleanErr := d.cleanUp(); cleanErr != nil {
		fmt.Fprintf(os.Stderr, "demo: clean-up: %v\n", cleanErr)
		return 1
	}
	switch {
	case errors.As(context.Cause(ctx), &stop) && !d.kept: // perhaps during the clean-up
		return 128 + int(stop)
	case err != nil:
		return 1
	}
	d.summary()
	return 0
}

// interrupted is the signal that ended the demonstration.
type interrupted syscall.Signal

func (i interrupted) Error() string { return syscall.Signal(i).String() }

// untilSignal returns a context that the first signal cancels. Later ones do
// nothing: they must not cut the clean-up short. (signal.Ignore would be no
// help: a signal that comes just then still kills.) SIGPIPE is among them
// because "make demo | head" would otherwise end the program on the spot.
func untilSignal() context.Context {
	ctx, cancel := context.WithCancelCause(context.Background())
	caught := make(chan os.Signal, 1)
	signal.Notify(caught, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT, syscall.SIGPIPE)
	go func() { cancel(interrupted((<-caught).(syscall.Signal))) }()
	return ctx
}

// awaitSignal is called after an error, which may be the work of a Ctrl-C: a
// child leaves the terminal's process group a moment after it is born, and in
// that moment the signal kills it. Then the same signal is on its way here.
func awaitSignal(ctx context.Context) {
	select {
	case <-ctx.Done():
	case <-time.After(250 * time.Millisecond):
	}
}
