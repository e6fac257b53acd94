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

	"golang.org/x/sys/unix"
)

func main() {
	ctx := untilSignal()
	bin := flag.String("bin", "bin", "directory of kmsfs and kms-emulator")
	keep := flag.Bool("keep", false, "stay mounted until Ctrl-C")
	flag.Parse()
	os.Exit(run(ctx, *bin, *keep))
}

func run(ctx context.Context, bin string, keep bool) int {
	d := &demo{keep: keep, out: os.Stdout}
	var err error
	if d.bin, err = filepath.Abs(bin); err == nil {
		// No core file of anything started from here has a key in it.
		err = unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{})
	}
	if err == nil {
		err = d.show(ctx)
	}
	var stop interrupted
	switch {
	case errors.As(context.Cause(ctx), &stop) && d.kept:
		fmt.Fprintln(d.out)
		err = nil
	case errors.As(context.Cause(ctx), &stop):
		fmt.Fprintf(d.out, "\n%v: cleaning up\n", stop)
	case err != nil:
		fmt.Fprintf(os.Stderr, "demo: %v\n", err)
	}
	if cleanErr := d.cleanUp(); cleanErr != nil {
		fmt.Fprintf(os.Stderr, "demo: clean-up: %v\n", cleanErr)
		return 1
	}
	switch {
	case d.kept:
	case errors.As(context.Cause(ctx), &stop): // perhaps during the clean-up
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
// nothing: they must not cut the clean-up short. SIGPIPE is among them because
// "make demo | head" would otherwise end the program on the spot.
func untilSignal() context.Context {
	ctx, cancel := context.WithCancelCause(context.Background())
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT, syscall.SIGPIPE)
	go func() { cancel(interrupted((<-signals).(syscall.Signal))) }()
	return ctx
}
