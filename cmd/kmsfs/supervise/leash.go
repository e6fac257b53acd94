package supervise

import (
	"errors"
	"net"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/kmsfs/kmsfs/fs/session"
)

// When a service is restarted its holder ends, and its server serves on until
// the next one is ready: there is no moment at which nobody answers. What is
// between the two servers is the leash. The old one gives its lifeline through
// it; the new one, which has begun in all but answering, says there that the old
// one may stop; and when the old one has ended the kernel closes it. Should the
// new one die before that, the old one has lost nothing.

const (
	leashStop    = 's' // to the old server: I am ready
	leashStopped = 'x' // to the new one: nothing is answered any more, I end
	leashStuck   = 'u' // the same, and a thread of mine waits for what you answer
)

const (
	// OrphanPatience is how long a server of a service serves without a holder.
	// A restart takes less than a second. Where systemd has given up, the unit
	// has failed, and nothing of it should be left.
	OrphanPatience = 30 * time.Second
	// takeoverPatience bounds how long a server waits for the old one to stop.
	takeoverPatience = 4 * time.Second
	// stuckPatience is how long an old server that cannot end is waited for.
	stuckPatience = 300 * time.Millisecond
)

// OfferLifeline gives what a server serves through its control socket, and
// returns when whoever asked for it is ready; then this server should stop.
func OfferLifeline(conn *net.UnixConn, line *session.Lifeline) error {
	conn.SetDeadline(time.Now().Add(doorPatience))
	_, _, err := conn.WriteMsgUnix([]byte("!"), unix.UnixRights(int(line.Device.Fd()), int(line.Journal.Fd()), int(line.Source.Fd())), nil)
	if err != nil {
		return err
	}
	word := make([]byte, 1)
	if n, err := conn.Read(word); n != 1 || err != nil || word[0] != leashStop {
		return errors.New("the successor went away") // or it has taken too long
	}
	return nil
}

// ReportStopped tells the successor that nothing is answered any more. stuck:
// this process cannot end before the successor has begun.
func ReportStopped(conn *net.UnixConn, stuck bool) {
	word := byte(leashStopped)
	if stuck {
		word = leashStuck
	}
	conn.SetDeadline(time.Now().Add(time.Second))
	conn.Write([]byte{word})
}

// TakeLifeline receives what a server offers.
func TakeLifeline(conn *net.UnixConn) (line *session.Lifeline, leash *os.File, err error) {
	word, rights := make([]byte, 1), make([]byte, unix.CmsgSpace(3*4))
	_, rn, _, _, err := conn.ReadMsgUnix(word, rights)
	if err != nil {
		return nil, nil, err
	}
	files, err := filesIn(rights[:rn])
	if err == nil && len(files) != 3 {
		err = errors.New("the server gave no descriptors")
	}
	if err == nil {
		leash, err = conn.File() // blocking, and shared by who has the descriptor
	}
	if err != nil {
		for _, f := range files {
			f.Close()
		}
		return nil, nil, err
	}
	return lifelineOf(files), leash, nil
}

// AwaitPredecessor makes the server before this one stop, and returns when it
// has ended. It is called when all that could fail has been done. Without a
// leash there is no such server.
func (in Inheritance) AwaitPredecessor() error {
	if in.leash == nil {
		return nil
	}
	defer in.leash.Close()
	fd := int(in.leash.Fd())
	if _, err := unix.Write(fd, []byte{leashStop}); err != nil {
		return confirmDeath(fd)
	}
	told := false
	for late := time.Now().Add(takeoverPatience); time.Now().Before(late); {
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, int(time.Until(late)/time.Millisecond)+1)
		if err == unix.EINTR || n == 0 {
			continue
		}
		word := make([]byte, 1)
		n, err = unix.Read(fd, word)
		switch {
		case err == unix.EINTR:
		case n == 1 && err == nil:
			told = true
			if word[0] == leashStuck {
				late = time.Now().Add(stuckPatience)
			}
		case told:
			return nil // it has ended
		default:
			return confirmDeath(fd)
		}
	}
	if !told {
		return errGoesOn
	}
	return nil
}

var errGoesOn = errors.New("take over: the server before this one goes on")

// confirmDeath tells a server that has died from one that has become another
// program meanwhile, which closes its end as well, and serves on.
func confirmDeath(leash int) error {
	peer, err := unix.GetsockoptUcred(leash, unix.SOL_SOCKET, unix.SO_PEERCRED)
	if err != nil {
		return err
	}
	process, err := unix.PidfdOpen(int(peer.Pid), 0)
	if err == unix.ESRCH {
		return nil
	}
	if err != nil {
		return os.NewSyscallError("pidfd_open", err)
	}
	defer unix.Close(process)
	n, err := unix.Poll([]unix.PollFd{{Fd: int32(process), Events: unix.POLLIN}}, 1000)
	if err == nil && n == 0 {
		err = errGoesOn
	}
	return err
}
