package supervise

import (
	"context"
	"os/exec"
	"strconv"
	"strings"
	"time"

	"github.com/kmsfs/kmsfs/cmd/kmsfs/ui"
	"github.com/kmsfs/kmsfs/fs/session"
)

// What outlives the process of a service lies in systemd's store: the kernel's
// end of the mount, which premount leaves there, and what its server adds as
// soon as it answers. The next process of the service gets all of it. When the
// Service has ended for good, systemd lets go of it, and with that ends the
// connection: readers get an error and do not hang.

// storedNames is what a complete store has.
var storedNames = []string{session.DeviceName, session.JournalName, session.SourceName}

// StoreLifeline adds to the device what a successor needs besides. systemd could not
// poll a file or a directory.
func StoreLifeline(line *session.Lifeline) error {
	if err := Notify("FDSTORE=1\nFDPOLL=0\nFDNAME="+session.JournalName, int(line.Journal.Fd())); err != nil {
		return err
	}
	return Notify("FDSTORE=1\nFDPOLL=0\nFDNAME="+session.SourceName, int(line.Source.Fd()))
}

// EmptyStore makes systemd let go of everything. systemd hears of it before it
// answers the next question or starts the next process.
func EmptyStore() error {
	for _, name := range storedNames {
		if err := Notify("FDSTOREREMOVE=1\nFDNAME=" + name); err != nil {
			return err
		}
	}
	return nil
}

// Service is what systemd says of one.
type service struct {
	Stored   int    // descriptors in its store
	answered bool   // its last process has got as far as to say how it is
	job      string // what systemd is about to do: stop, restart, …
}

// systemdPatience bounds a question to systemd.
const systemdPatience = 5 * time.Second

func AskSystemd(unit string) (s service, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), systemdPatience)
	defer cancel()
	shown, err := exec.CommandContext(ctx, "/bin/systemctl", "show", "--property=NFileDescriptorStore", "--property=StatusText", "--", unit).Output()
	if err != nil {
		return s, ui.Failf("ask systemd for %s: %w", ui.Quote(unit), err)
	}
	for line := range strings.Lines(string(shown)) {
		switch name, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), "="); name {
		case "NFileDescriptorStore":
			s.Stored, _ = strconv.Atoi(value)
		case "StatusText":
			s.answered = value != ""
		}
	}
	jobs, err := exec.CommandContext(ctx, "/bin/systemctl", "list-jobs", "--no-legend", "--no-pager", "--full", "--plain").Output()
	if err != nil {
		return s, ui.Failf("ask systemd for jobs: %w", err)
	}
	for line := range strings.Lines(string(jobs)) { // number, unit, type, state
		if f := strings.Fields(line); len(f) >= 3 && f[1] == unit {
			s.job = f[2]
		}
	}
	return s, nil
}

// Complete tells whether a process of the service could take over.
func (s service) Complete() bool { return s.Stored == len(storedNames) }

// GoesOn tells, when a process of the service has ended with that result
// (systemd.exec(5), SERVICE_RESULT), whether another one takes over. After one
// that never answered none does: whatever kept it from that would keep the
// next one, and readers would wait for it.
func (s service) GoesOn(result string) bool {
	if !s.Complete() || !s.answered {
		return false
	}
	switch s.job {
	case "stop":
		return false
	case "restart", "try-restart", "start":
		return true
	}
	return result != "success"
}
