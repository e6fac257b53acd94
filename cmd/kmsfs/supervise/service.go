package supervise

import (
	"context"
	"errors"
	"os"
	"syscall"
	"time"
)

// The processes of a service, and what each may wait for:
//
//	PID 1     reads files, also those of the mount (EnvironmentFile=, conditions)
//	premount  a step of root's; it mounts, or asks the server that is left, and
//	          waits until the holder says that its server answers
//	holder    the main process; it waits for root, then for the end of its server
//	server    answers; it waits for nobody here
//
// INVARIANT: nobody waits for PID 1 between the moment at which a path leads to
// the mount and its first answer, nor at any moment at which its server has died.
// PID 1 never has a descriptor of the device. So whenever PID 1 waits for the
// mount, a server answers, or the holder brings the next one, or both are dead
// and the kernel ends the connection.
//
// A holder that is told to end leaves its server, which answers until the holder
// of the next start brings another one, or until premount --undo, at a stop, ends
// the mount. If neither happens it ends by itself (OrphanPatience).

// errLeft is how a holder ends that leaves its server.
var errLeft = errors.New("the server is left to the next holder")

// HoldService stands by as the main process of a service. It is ready when root
// can bring it a mount, through its door at path. point says where that is
// mounted, once it is.
func HoldService(c Config, path string, point func() (string, error), getenv func(string) string) error {
	h, signals, err := newHolder(c)
	if err != nil {
		return err
	}
	h.service = true
	at, err := openDoor(path)
	if err != nil {
		return err
	}
	defer at.Close()
	defer h.openLog()()
	if err = h.stand(at, signals, point, watchdogPeriod(getenv)); errors.Is(err, errLeft) {
		return nil
	}
	return err
}

// stand waits for root, and then for the end of the mount.
func (h *holder) stand(at *door, signals <-chan os.Signal, point func() (string, error), watchdog time.Duration) error {
	ctx, end := context.WithCancel(context.Background())
	defer end()
	unserved, begun := context.WithCancel(ctx)
	defer begun()
	go feed(unserved, watchdog)
	d, err := h.await(at, signals)
	if err != nil {
		return err
	}
	var s *server
	if h.Point, err = point(); err == nil {
		s, err = h.serve(d, signals)
	}
	begun() // from here on the server says how it is
	d.answer(err)
	if err != nil {
		return err
	}
	at.Close()
	defer h.line.Close()
	go h.watch(ctx, watchdog)
	return h.succeed(s, signals)
}

// feed keeps the watchdog quiet while there is no server yet.
func feed(ctx context.Context, period time.Duration) {
	if period == 0 {
		return
	}
	tick := time.NewTicker(period / 3)
	defer tick.Stop()
	for {
		Notify("WATCHDOG=1")
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// await waits until root brings a mount, or until the holder is told to end.
func (h *holder) await(at *door, signals <-chan os.Signal) (*delivery, error) {
	brought := make(chan *delivery, 1)
	go func() {
		if d, err := at.await(); err == nil {
			brought <- d
		}
	}()
	NotifyUntilHeard("READY=1\nSTATUS=Waiting for the mount")
	for {
		select {
		case sig := <-signals:
			if sig != syscall.SIGHUP {
				return nil, errLeft // or there is none
			}
		case d := <-brought:
			return d, nil
		}
	}
}

// serve starts the server of what root has brought, and waits until it answers.
func (h *holder) serve(d *delivery, signals <-chan os.Signal) (s *server, err error) {
	if d.device != nil {
		defer d.device.Close()
		return h.begin(d.device, signals)
	}
	defer d.leash.Close()
	h.line = d.line
	for range maxStillborn {
		if s, err = h.start(legacy{leash: d.leash}); err == nil {
			err = h.wait(s, signals)
		}
		if err == nil || errors.Is(err, errLeft) {
			return s, err
		}
	}
	return nil, err
}

// watch kills the server when the mount has not answered for some time: the next
// one answers what is under way. systemd, whose watchdog this is, may be among
// those who wait.
func (h *holder) watch(ctx context.Context, period time.Duration) {
	if period == 0 {
		return
	}
	tick := time.NewTicker(period / 6)
	defer tick.Stop()
	for {
		answer := make(chan error, 1)
		go func() { answer <- askRoot(h.Point) }()
		select {
		case <-ctx.Done():
			return
		case <-answer:
		case <-time.After(max(period/3, beginPatience)):
			h.hung <- struct{}{}
			<-answer // of the next server
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}
