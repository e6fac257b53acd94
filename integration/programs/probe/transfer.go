package main

import (
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"runtime/debug"

	"golang.org/x/sys/unix"
)

// splice moves a file through a pipe into another file.
func splice(name string) {
	from := open(name)
	to, err := os.Create(out(name))
	must(err)
	var pipe [2]int
	must(unix.Pipe2(pipe[:], unix.O_CLOEXEC))
	for {
		n, err := unix.Splice(from, nil, pipe[1], nil, 1<<16, 0)
		must(err)
		fmt.Print(n, " ")
		if n == 0 {
			break
		}
		for n > 0 {
			m, err := unix.Splice(pipe[0], nil, int(to.Fd()), nil, int(n), unix.SPLICE_F_MOVE)
			must(err)
			n -= m
		}
	}
	at := int64(10)
	n, err := unix.Splice(from, &at, pipe[1], nil, 100, unix.SPLICE_F_NONBLOCK)
	unix.Close(pipe[1])
	fmt.Println(n, err, at, digest(rest(pipe[0])), to.Close())
}

func sendfile(name string) {
	from := open(name)
	to, err := os.Create(out(name))
	must(err)
	n, err := unix.Sendfile(int(to.Fd()), from, nil, 1<<20)
	fmt.Print(n, " ", err, "; ")
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	must(err)
	for _, at := range []int64{0, 3, 6143, 6144, 9999} {
		n, err := unix.Sendfile(pair[0], from, &at, 5000)
		fmt.Print(n, " ", err, " ", at, "; ")
	}
	unix.Close(pair[0])
	fmt.Println(digest(rest(pair[1])), to.Close())
}

func copyRange(name string) {
	from := open(name)
	to, err := os.Create(out(name))
	must(err)
	n, err := unix.CopyFileRange(from, nil, int(to.Fd()), nil, 1<<20, 0)
	fmt.Print(n, " ", err, "; ")
	fmt.Println(unix.IoctlFileClone(int(to.Fd()), from), to.Close())
}

func advise(name string) {
	fd := open(name)
	_, _, errno := unix.Syscall(unix.SYS_READAHEAD, uintptr(fd), 0, 1<<20)
	fmt.Print(errno)
	for advice := range 6 {
		fmt.Print(" ", unix.Fadvise(fd, 0, 0, advice))
	}
	fmt.Println("", digest(rest(fd)))
}

func poll(name string) {
	fd := open(name)
	fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN | unix.POLLOUT | unix.POLLPRI}}
	n, err := unix.Poll(fds, 1000)
	fmt.Printf("%d %v %#x; ", n, err, fds[0].Revents)
	var set unix.FdSet
	set.Set(fd)
	n, err = unix.Select(fd+1, &set, nil, nil, &unix.Timeval{Sec: 1})
	fmt.Println(n, err, set.IsSet(fd))
}

func epoll(name string) {
	ep, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	must(err)
	fd := open(name)
	err = unix.EpollCtl(ep, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Events: unix.EPOLLIN})
	events := make([]unix.EpollEvent, 2)
	n := 0
	if err == nil {
		n, _ = unix.EpollWait(ep, events, 1000)
	}
	fmt.Printf("epoll_ctl %v, %d events %#x\n", err, n, events[0].Events)
}

func nowait(name string) {
	n, err := unix.Preadv2(open(name), [][]byte{make([]byte, 100)}, 0, unix.RWF_NOWAIT)
	fmt.Println(max(n, 0), err)
}

func statfs(name string) {
	var st unix.Statfs_t
	must(unix.Statfs(name, &st))
	fmt.Printf("%#x %t %d %d %#x\n", st.Type, st.Blocks > 0, st.Bsize, st.Namelen, st.Flags&unix.ST_RDONLY)
}

func fionread(name string) {
	fd := open(name)
	all, err := unix.IoctlGetInt(fd, unix.TIOCINQ)
	fmt.Print(all, " ", err, " ")
	_, err = unix.Read(fd, make([]byte, 100))
	must(err)
	left, err := unix.IoctlGetInt(fd, unix.TIOCINQ)
	_, err2 := unix.IoctlGetTermios(fd, unix.TCGETS)
	fmt.Println(left, err, err2)
}

func inotify(name string) {
	in, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	must(err)
	_, err = unix.InotifyAddWatch(in, name, unix.IN_OPEN|unix.IN_CLOSE_NOWRITE)
	must(err)
	_, err = os.ReadFile(name)
	must(err)
	buf := make([]byte, 1000)
	n, err := unix.Read(in, buf)
	must(err)
	// Others read the file as well, so only what happened is compared, not how often.
	var seen uint32
	for b := buf[:n]; len(b) >= unix.SizeofInotifyEvent; b = b[unix.SizeofInotifyEvent:] {
		seen |= binary.NativeEndian.Uint32(b[4:])
	}
	fmt.Printf("%#x\n", seen)
}

// mapped maps a whole file and returns it as seen, with zeros up to the page's
// end.
func mapped(fd, prot, flags int) []byte {
	pages := (size(fd) + 4095) &^ 4095
	b, err := unix.Mmap(fd, 0, pages, prot, flags)
	must(err)
	return b
}

func mapPrivate(name string) {
	fd := open(name)
	b := mapped(fd, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE)
	fmt.Print(digest(b), unix.Madvise(b, unix.MADV_WILLNEED), unix.Msync(b, unix.MS_SYNC))
	b[0] = '!'
	fmt.Println(digest(b), digest(rest(fd)), unix.Munmap(b))
}

func mapShared(name string) {
	fd := open(name)
	b := mapped(fd, unix.PROT_READ, unix.MAP_SHARED)
	fmt.Print(digest(b), digest(rest(fd)), unix.Madvise(b, unix.MADV_SEQUENTIAL), unix.Mprotect(b, unix.PROT_READ|unix.PROT_WRITE), "; ")
	_, err := unix.Mmap(fd, 0, 100, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	_, err2 := unix.Mmap(fd, 0, 100, unix.PROT_READ|unix.PROT_EXEC, unix.MAP_SHARED)
	fmt.Println(err, err2)
	populated := mapped(fd, unix.PROT_READ, unix.MAP_SHARED|unix.MAP_POPULATE)
	must(unix.Close(fd))
	fmt.Println(digest(populated), digest(b), unix.Munmap(b))
}

// mapBehind touches a page behind the end of a file.
func mapBehind(name string) {
	fd := open(name)
	b, err := unix.Mmap(fd, 0, 3*4096, unix.PROT_READ, unix.MAP_PRIVATE)
	must(err)
	debug.SetPanicOnFault(true)
	defer func() { fmt.Println(recover() != nil) }()
	fmt.Print(digest(b[:2*4096]), " ")
	io.Discard.Write([]byte{b[2*4096]})
}
