// Package session is one connection with the kernel, in the process that serves
// it at the time: it reads the messages, lets a Handler answer them, and can be
// ended so that another process goes on without a message being lost.
//
// It knows the protocol, and neither files nor plaintext: what an answer is made
// of is lent to it until it has been written.
package session

import (
	"log/slog"
	"os"
	"sync"
	"sync/atomic"

	"github.com/kmsfs/kmsfs/fs/mount"
)

// Config says for what a session is, and who answers.
type Config struct {
	Mount   mount.Spec
	Handler Handler
	// IsLocal says that LOOKUP, GETATTR, OPEN and READ find what they need in
	// memory or a local file system, as long as they do not say WillBlock.
	IsLocal func() bool
	// Systemd says that the first process is systemd, which must not wait long.
	Systemd bool
	Log     *slog.Logger
}

// Session reads what the kernel asks and lets its Handler answer. A reader
// answers what it has read itself, so that a request costs no hand-off; before
// it waits for anything, another one is started that reads meanwhile. It is
// our own, and not go-fuse's, for three things: a plaintext is written to the
// kernel from where it lies and let go only then, it can be stopped without
// losing a message, and every message lies in the journal until it is
// answered, where a successor finds it.
//
// INVARIANT: unless the session is stopping or the connection has ended, there
// is a reader that waits, or one that will before it does anything that may
// block.
type Session struct {
	cfg     Config
	line    *Lifeline
	journal *journal
	*kernel

	idle     atomic.Int32 // readers that wait for a message
	stopping atomic.Bool
	dead     atomic.Bool // the connection has ended

	answering sync.RWMutex // read-locked from the answer to the end of what it was made of
	abandoned bool         // a successor answers; guarded by answering

	mu      sync.Mutex
	readers []*reader
	gone    chan struct{} // closed when the connection and the last reader have ended; a later reader reads nothing
	over    sync.Once     // closes gone
}

// Attach mounts, and begins the first session of the connection. source is what
// a successor would need to serve the same.
func Attach(source *os.File, cfg Config) (*Session, error) {
	line, err := attach(cfg.Mount, source)
	if err != nil {
		return nil, err
	}
	s, err := open(line, cfg)
	if err != nil {
		return nil, err
	}
	s.journal.head.epoch++
	return s, nil
}

// Inherit begins the session that follows on that of a predecessor which has
// stopped or died. It looks at no path that leads through the mount: what is
// asked there waits for us.
func Inherit(line *Lifeline, cfg Config) (*Session, error) {
	s, err := open(line, cfg)
	if err != nil {
		return nil, err
	}
	if err := line.check(cfg.Mount, s.journal); err != nil {
		s.journal.close()
		return nil, err
	}
	s.journal.head.epoch++
	return s, nil
}

func open(line *Lifeline, cfg Config) (*Session, error) {
	j, err := openJournal(line.Journal)
	if err != nil {
		return nil, err
	}
	s := &Session{
		cfg: cfg, line: line, journal: j,
		kernel: &kernel{device: line.Device, fd: int(line.Device.Fd())},
		gone:   make(chan struct{}),
	}
	j.attend(s.gone)
	return s, nil
}

// Lifeline returns what a successor needs. It belongs to the session.
func (s *Session) Lifeline() *Lifeline { return s.line }

// IsFirst tells whether the kernel has never been answered on this connection.
func (s *Session) IsFirst() bool { return s.journal.head.minor == 0 }

// Epoch is a number that no other session of the connection has.
func (s *Session) Epoch() uint32 { return s.journal.head.epoch }

// Page records that the kernel may have pages of a node from now on, for a
// successor. It returns false when there is no room for that.
func (s *Session) Page(id uint64) bool { return s.journal.page(id) }

// Unpage records that the kernel has none any more.
func (s *Session) Unpage(id uint64) { s.journal.unpage(id) }

// LeftPaged returns the nodes that the kernel may have pages of, as a predecessor
// has recorded it.
func (s *Session) LeftPaged() []uint64 { return s.journal.leftPaged() }

// Ended is closed when the connection has ended, and nobody answers any more.
func (s *Session) Ended() <-chan struct{} { return s.gone }

// Close lets go of the connection, once it has ended.
func (s *Session) Close() {
	s.kernel.close()
	s.line.Journal.Close()
	s.journal.close()
}
