package supervise

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/kmsfs/kmsfs/cmd/kmsfs/ui"
	"github.com/kmsfs/kmsfs/fs/trusted"
)

// Program is a program that is open: what is run is the file that was looked at,
// and it can be run when its name is gone.
type Program struct {
	Path string
	file *os.File
	id   fileID
}

// fileID tells one file from another, and from what was written over it.
type fileID struct {
	dev, ino    uint64
	size, mtime int64
}

// programFDs begin where no descriptor that a child gets is put in their place.
const programFDs = 100

// TrustedProgram is this program as it lies on disk, if nobody but root and this
// user can put another one there: the file and every directory above it must be
// owned by one of them, and writable by nobody else. A directory like /tmp,
// where each may remove only what is theirs, is as good.
func TrustedProgram() (*Program, error) {
	path, err := ownPath()
	if err != nil {
		return nil, fmt.Errorf("hand over: %w", err)
	}
	resolved, err := filepath.EvalSymlinks(path)
	if err != nil {
		return nil, fmt.Errorf("hand over to %s: %w", path, ui.Cause(err))
	}
	p, err := openProgram(resolved)
	if err != nil {
		return nil, fmt.Errorf("hand over to %s: %w", resolved, ui.Cause(err))
	}
	if err := p.check(); err != nil {
		p.Close()
		return nil, fmt.Errorf("hand over to %s: %w", resolved, err)
	}
	return p, nil
}

func (p *Program) check() error {
	_, found, err := trusted.Find(p.Path)
	if unsafe, ok := errors.AsType[*trusted.UnsafeError](err); ok {
		return fmt.Errorf("others than root and this user can change %s", unsafe.Path)
	}
	if err != nil {
		return ui.Cause(err)
	}
	opened, err := p.file.Stat()
	switch {
	case err != nil:
		return ui.Cause(err)
	case found.Mode().Perm()&0o111 == 0:
		return errors.New("no program")
	case !os.SameFile(found, opened):
		return errors.New("it is being replaced")
	}
	return nil
}

// programPath is what the process before us has said of where our program lies.
var programPath string

// ownPath is where our program lay at the start, whatever lies there now.
func ownPath() (string, error) {
	if programPath != "" {
		return programPath, nil
	}
	return os.Executable()
}

// ownProgram is the one that runs.
func ownProgram() (*Program, error) {
	path, err := ownPath()
	if err != nil {
		return nil, err
	}
	p, err := openProgram("/proc/self/exe")
	if err == nil {
		p.Path = path
	}
	return p, err
}

// inMemory is a copy that can be executed whatever becomes of the file.
func (p *Program) inMemory() (*Program, error) {
	from, err := os.Open(p.open())
	if err != nil {
		return nil, err
	}
	defer from.Close()
	fd, err := unix.MemfdCreate("kmsfs", unix.MFD_CLOEXEC|unix.MFD_EXEC)
	if err == unix.EINVAL { // before Linux 6.3
		fd, err = unix.MemfdCreate("kmsfs", unix.MFD_CLOEXEC)
	}
	if err != nil {
		return nil, os.NewSyscallError("memfd_create", err)
	}
	to := os.NewFile(uintptr(fd), p.Path)
	defer to.Close()
	if _, err := io.Copy(to, from); err != nil {
		return nil, err
	}
	copied, err := openProgram(fmt.Sprintf("/proc/self/fd/%d", fd)) // one that is open for writing is busy
	if err == nil {
		copied.Path, copied.id = p.Path, p.id
	}
	return copied, err
}

func openProgram(path string) (*Program, error) {
	fd, err := unix.Open(path, unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: path, Err: err}
	}
	defer unix.Close(fd)
	high, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, programFDs)
	if err != nil {
		return nil, os.NewSyscallError("fcntl", err)
	}
	p := &Program{Path: path, file: os.NewFile(uintptr(high), path)}
	var st unix.Stat_t
	if err := unix.Fstat(high, &st); err != nil {
		p.Close()
		return nil, os.NewSyscallError("fstat", err)
	}
	p.id = fileID{uint64(st.Dev), st.Ino, st.Size, st.Mtim.Nano()}
	return p, nil
}

// open is a path to the file that is open here.
func (p *Program) open() string { return fmt.Sprintf("/proc/self/fd/%d", p.file.Fd()) }

// Close lets go of it.
func (p *Program) Close() { p.file.Close() }

// setName gives this process the name of its program, in ps and for pidof: run
// from a descriptor, it would be called by that one's number.
func setName() {
	if path, err := ownPath(); err == nil {
		os.WriteFile("/proc/self/comm", []byte(filepath.Base(path)), 0)
	}
}
