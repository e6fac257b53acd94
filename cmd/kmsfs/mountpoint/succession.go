package mountpoint

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/kmsfs/kmsfs/cmd/kmsfs/control"
	"github.com/kmsfs/kmsfs/cmd/kmsfs/supervise"
	"github.com/kmsfs/kmsfs/cmd/kmsfs/ui"
	"github.com/kmsfs/kmsfs/fs/mount"
)

// Service is the place of a service of systemd, as a step of root's sees it: what
// is mounted there may be the service's, served by a process that an earlier start
// has left, or somebody else's.
type Service struct {
	Place
	Getenv func(string) string
	Warn   func(string)
}

// Succeed lets the new main process succeed the server of an earlier one. It returns
// false if there is none, or one of another source, or one that does not answer.
func (s Service) Succeed(door *supervise.Door) (succeeded bool, err error) {
	there, ok := s.stands()
	if !ok {
		return false, nil
	}
	if source, err := filepath.Abs(s.Source); err != nil || there.Source != source {
		return false, nil
	}
	conn, pid, err := control.Succession(there, s.Getenv)
	if err != nil {
		return false, nil
	}
	defer conn.Close()
	if !supervise.SameService(pid) {
		return false, nil
	}
	control.AskToSucceed(conn)
	line, leash, err := supervise.TakeLifeline(conn)
	if err != nil {
		s.Warn("the server of an earlier start does not answer, it is mounted anew: " + err.Error())
		return false, nil
	}
	conn.Close() // the leash is the other end now
	return true, door.BringLifeline(line, leash)
}

// EndOthers ends what is left of this service, except its main process: a mount, and
// processes.
func (s Service) EndOthers(main int) {
	if there, ok := s.stands(); ok && s.server(there) != 0 {
		s.abort(there)
	}
	supervise.EndLeftovers(leftoverPatience, main)
}

// leftoverPatience is how long a server may take to end when its mount has.
const leftoverPatience = 2 * time.Second

// server is the process of this service that serves a mount; 0: there is none.
func (s Service) server(there mount.Entry) int {
	conn, pid, err := control.Succession(there, s.Getenv)
	if err != nil {
		return 0
	}
	defer conn.Close()
	if !supervise.SameService(pid) {
		return 0
	}
	return pid
}

// abort detaches a mount and ends its connection: whoever waits for it gets an
// error at once, and its server ends.
func (s Service) abort(there mount.Entry) {
	connection, err := there.Connection()
	if err == nil {
		defer connection.Close()
	}
	if uerr := mount.Unmount(there.Point, true); uerr != nil {
		s.Warn(uerr.Error())
	}
	if err != nil {
		s.Warn(err.Error())
		return
	}
	if err := connection.Abort(); err != nil {
		s.Warn(err.Error())
	}
}

// MakePoint makes the mountpoint, unless something is mounted there.
func (s Service) MakePoint() error {
	point, err := mount.RealPoint(s.Point)
	if err != nil {
		point = s.Point // the directories above are not there
	}
	if _, ok, err := mount.At(point); err != nil || ok {
		return err
	}
	if err := os.MkdirAll(point, 0o755); err != nil {
		return ui.Failf("make mountpoint: %w", ui.PlainPath(err))
	}
	return nil
}

// Apart refuses a source that the mount would hide: the process that serves is
// another one, and would look for it through a mount that waits for itself.
func (s Service) Apart() error {
	source, err := filepath.EvalSymlinks(s.Source)
	if err != nil {
		return ui.Failf("open source: %w", ui.PlainPath(err))
	}
	if rel, err := filepath.Rel(s.Point, source); err == nil && filepath.IsLocal(rel) {
		return ui.Failf("mount %s: the source %s lies beneath it", ui.Quote(s.Point), ui.Quote(s.Source)).
			Hint("a service needs another MNT, such as /run/certs")
	}
	return nil
}

// stands is the mount of kmsfs at the mountpoint, if there is one. Only the mount
// table is looked at.
func (s Service) stands() (mount.Entry, bool) {
	point, err := mount.RealPoint(s.Point)
	if err != nil {
		return mount.Entry{}, false // the directories above are not there
	}
	there, ok, err := mount.At(point)
	return there, err == nil && ok && there.Type == mount.Type
}

// Leave ends the mount of a service whose main process has ended, unless
// another one follows and the server serves on until then. A mount that is not
// served by this service is somebody else's.
func (s Service) Leave(unit string) error {
	job, err := supervise.Job(unit)
	if err != nil {
		s.Warn(err.Error() + "; it is unmounted")
	}
	goesOn := err == nil && supervise.GoesOn(job, s.Getenv("SERVICE_RESULT"))
	there, ok := s.stands()
	server := 0
	if ok {
		server = s.server(there)
	}
	if goesOn && (server == 0 || supervise.Living(server)) {
		return nil
	}
	if server != 0 {
		s.abort(there) // also where it has been killed and cannot end
	}
	supervise.EndLeftovers(leftoverPatience)
	if ok && server == 0 && errors.Is(unix.Statfs(there.Point, new(unix.Statfs_t)), syscall.ENOTCONN) {
		control.Sweep(there, s.Getenv)
		return mount.Unmount(there.Point, true) // its server had died
	}
	return nil
}
