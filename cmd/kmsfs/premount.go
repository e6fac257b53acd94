package main

import (
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/kmsfs/kmsfs/cmd/kmsfs/control"
	"github.com/kmsfs/kmsfs/cmd/kmsfs/options"
	"github.com/kmsfs/kmsfs/cmd/kmsfs/supervise"
	"github.com/kmsfs/kmsfs/cmd/kmsfs/ui"
	"github.com/kmsfs/kmsfs/fs/mount"
)

// premountCommand is what a service needs privileges for. When the service's main
// process stands by, premount mounts, or asks the server that an earlier main
// process has left, and brings what is to be served to the main process. When
// that has ended, premount --undo unmounts, unless another one follows.
//
// Whoever reads the mount, systemd above all, waits for its server alone: premount
// holds no descriptor of the mount while it waits, and asks systemd nothing
// between the mount and its first answer.
func premountCommand(p *program) *cobra.Command {
	s, err := options.Defaults()
	var server, unit, door string
	var undo bool
	cmd := &cobra.Command{
		Use: "premount SRC MNT", Hidden: true, Args: exactly("SRC", "MNT"),
		RunE: func(cmd *cobra.Command, args []string) error {
			switch {
			case err != nil:
				return err
			case p.getenv("NOTIFY_SOCKET") == "":
				return ui.Failf("premount: systemd does not listen").Hint("this is a step of kmsfs@.service")
			}
			m := &mounting{p: p, Settings: s, source: args[0], point: args[1]}
			if undo {
				return m.unmountService(unit)
			}
			return m.premount(server, door)
		},
	}
	cmd.Flags().BoolVar(&undo, "undo", false, "unmount after the service has ended")
	cmd.Flags().StringVar(&server, "server", "", "the user whose process will serve")
	cmd.Flags().StringVar(&unit, "unit", "", "the service")
	cmd.Flags().StringVar(&door, "door", "", "where its main process waits")
	s.AddFlags(cmd.Flags(), true)
	return cmd
}

// premount brings the main process what it shall serve.
func (m *mounting) premount(server, path string) error {
	uid, err := options.ParseUser(server)
	if err != nil {
		return ui.Usagef("read option server: %w", err)
	}
	main, _ := strconv.Atoi(m.p.getenv("MAINPID"))
	if main == 0 {
		return ui.Failf("premount: systemd names no main process")
	}
	door, err := supervise.KnockAt(path, main)
	if err != nil {
		return err
	}
	defer door.Close()
	if succeeded, err := m.pass(door); succeeded || err != nil {
		return err
	}
	m.endOwn(main)
	if err := m.prepare(); err != nil {
		return err
	}
	spec := mount.Spec{Source: m.source, Point: m.point, AllowOther: m.AllowOther, Shared: m.Shared}
	device, err := spec.Premount(uid)
	if err != nil {
		return m.explainMount(err)
	}
	if err := door.BringDevice(device); err != nil {
		return errors.Join(err, mount.Unmount(m.point, true))
	}
	return nil
}

// pass lets the new main process succeed the server of an earlier one. It returns
// false if there is none, or one of another source, or one that does not answer.
func (m *mounting) pass(door *supervise.Door) (succeeded bool, err error) {
	there, ok := m.stands()
	if !ok {
		return false, nil
	}
	if source, err := filepath.Abs(m.source); err != nil || there.Source != source {
		return false, nil
	}
	conn, pid, err := control.Succession(there, m.p.getenv)
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
		m.p.warn("the server of an earlier start does not answer, it is mounted anew: " + err.Error())
		return false, nil
	}
	conn.Close() // the leash is the other end now
	return true, door.BringLifeline(line, leash)
}

// endOwn ends what is left of this service, except its main process: a mount, and
// processes.
func (m *mounting) endOwn(main int) {
	if there, ok := m.stands(); ok && m.server(there) != 0 {
		m.abort(there)
	}
	supervise.EndLeftovers(leftoverPatience, main)
}

// leftoverPatience is how long a server may take to end when its mount has.
const leftoverPatience = 2 * time.Second

// server is the process of this service that serves a mount; 0: there is none.
func (m *mounting) server(there mount.Entry) int {
	conn, pid, err := control.Succession(there, m.p.getenv)
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
func (m *mounting) abort(there mount.Entry) {
	connection, err := there.Connection()
	if err == nil {
		defer connection.Close()
	}
	if uerr := mount.Unmount(there.Point, true); uerr != nil {
		m.p.warn(uerr.Error())
	}
	if err != nil {
		m.p.warn(err.Error())
		return
	}
	if err := connection.Abort(); err != nil {
		m.p.warn(err.Error())
	}
}

// prepare makes the mountpoint and looks whether it can be mounted. A mount whose
// processes have died is detached.
func (m *mounting) prepare() error {
	if point, err := mount.RealPoint(m.point); err == nil {
		m.point = point
	}
	if _, ok, err := mount.At(m.point); err != nil {
		return err
	} else if !ok {
		if err := os.MkdirAll(m.point, 0o755); err != nil {
			return ui.Failf("make mountpoint: %w", ui.PlainPath(err))
		}
	}
	if err := m.resolve(); err != nil {
		return err
	}
	return m.apart()
}

// apart refuses a source that the mount would hide: the process that serves is
// another one, and would look for it through a mount that waits for itself.
func (m *mounting) apart() error {
	source, err := filepath.EvalSymlinks(m.source)
	if err != nil {
		return ui.Failf("open source: %w", ui.PlainPath(err))
	}
	if rel, err := filepath.Rel(m.point, source); err == nil && filepath.IsLocal(rel) {
		return ui.Failf("mount %s: the source %s lies beneath it", ui.Quote(m.point), ui.Quote(m.source)).
			Hint("a service needs another MNT, such as /run/certs")
	}
	return nil
}

// stands is the mount of kmsfs at the mountpoint, if there is one. Only the mount
// table is looked at.
func (m *mounting) stands() (mount.Entry, bool) {
	point, err := mount.RealPoint(m.point)
	if err != nil {
		return mount.Entry{}, false // the directories above are not there
	}
	there, ok, err := mount.At(point)
	return there, err == nil && ok && there.Type == mount.Type
}

// unmountService ends the mount of a service whose main process has ended, unless
// another one follows and the server serves on until then. A mount that is not
// served by this service is somebody else's.
func (m *mounting) unmountService(unit string) error {
	job, err := supervise.Job(unit)
	if err != nil {
		m.p.warn(err.Error() + "; it is unmounted")
	}
	goesOn := err == nil && supervise.GoesOn(job, m.p.getenv("SERVICE_RESULT"))
	there, ok := m.stands()
	server := 0
	if ok {
		server = m.server(there)
	}
	if goesOn && (server == 0 || supervise.Living(server)) {
		return nil
	}
	if server != 0 {
		m.abort(there) // also where it has been killed and cannot end
	}
	supervise.EndLeftovers(leftoverPatience)
	if ok && server == 0 && errors.Is(unix.Statfs(there.Point, new(unix.Statfs_t)), syscall.ENOTCONN) {
		control.Sweep(there, m.p.getenv)
		return mount.Unmount(there.Point, true) // its server had died
	}
	return nil
}
