package main

import (
	"fmt"
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

func openFlags(name string) {
	for _, f := range []struct {
		name  string
		flags int
	}{
		{"O_NONBLOCK", unix.O_NONBLOCK}, {"O_NOATIME", unix.O_NOATIME}, {"O_NOFOLLOW", unix.O_NOFOLLOW}, {"O_SYNC", unix.O_SYNC}, {"O_NOCTTY", unix.O_NOCTTY},
		{"O_APPEND", unix.O_APPEND}, {"O_CREAT", unix.O_CREAT}, {"O_CREAT|O_EXCL", unix.O_CREAT | unix.O_EXCL}, {"O_DIRECTORY", unix.O_DIRECTORY},
		{"O_WRONLY", unix.O_WRONLY}, {"O_RDWR", unix.O_RDWR}, {"O_TRUNC", unix.O_TRUNC}, {"O_TMPFILE", unix.O_TMPFILE | unix.O_RDWR},
	} {
		fd, err := unix.Open(name, f.flags|unix.O_CLOEXEC, 0o600)
		fmt.Print(f.name, " ", err)
		if err == nil {
			flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0)
			fmt.Printf(" %#x %v %s", flags, err, digest(rest(fd)))
			unix.Close(fd)
		}
		fmt.Print("; ")
	}
	_, err := unix.Open(".", unix.O_TMPFILE|unix.O_RDWR|unix.O_CLOEXEC, 0o600)
	fmt.Println("O_TMPFILE in the directory", err)
}

func openat2(name string) {
	for _, resolve := range []uint64{0, unix.RESOLVE_BENEATH, unix.RESOLVE_NO_XDEV, unix.RESOLVE_NO_SYMLINKS, unix.RESOLVE_IN_ROOT} {
		dir := open(".")
		fd, err := unix.Openat2(dir, name, &unix.OpenHow{Flags: unix.O_RDONLY | unix.O_CLOEXEC, Resolve: resolve})
		must(err)
		fmt.Print(digest(rest(fd)), "; ")
		unix.Close(fd)
		unix.Close(dir)
	}
	fmt.Println()
}

func oPath(name string) {
	fd, err := unix.Open(name, unix.O_PATH|unix.O_CLOEXEC, 0)
	must(err)
	_, err = unix.Read(fd, make([]byte, 1))
	fmt.Print(size(fd), " ", err, " ")
	b, err := os.ReadFile(fmt.Sprint("/proc/self/fd/", fd))
	fmt.Println(digest(b), err)
}

func readAtEnd(name string) {
	fd := open(name)
	end := size(fd)
	for _, at := range []int{0, 1, end - 1, end, end + 1, end + 4096, 1 << 40} {
		buf := make([]byte, end+1)
		n, err := unix.Pread(fd, buf, int64(at))
		fmt.Print(n, " ", err, " ", digest(buf), "; ")
	}
	_, err := unix.Pread(fd, make([]byte, 1), -1)
	none, noErr := unix.Read(fd, nil)
	fmt.Println(err, none, noErr, digest(rest(fd)), digest(rest(fd)))
}

func preadv(name string) {
	fd := open(name)
	for _, at := range []int64{0, 4095, 6143, 9999} {
		bufs := [][]byte{make([]byte, 1), make([]byte, 4096), nil, make([]byte, 5000)}
		n, err := unix.Preadv(fd, bufs, at)
		m, err2 := unix.Preadv2(fd, bufs, at, 0)
		fmt.Print(n, err, m, err2, digest(slices.Concat(bufs...)), "; ")
	}
	bufs := [][]byte{make([]byte, 10), make([]byte, 100)}
	n, err := unix.Readv(fd, bufs)
	m, err2 := unix.Preadv2(fd, bufs, -1, unix.RWF_HIPRI)
	fmt.Println(n, err, m, err2, digest(slices.Concat(bufs...)))
}

func lseek(name string) {
	fd := open(name)
	for _, whence := range []int{unix.SEEK_SET, unix.SEEK_CUR, unix.SEEK_END, unix.SEEK_DATA, unix.SEEK_HOLE} {
		for _, at := range []int64{0, 1, int64(size(fd)) - 1, int64(size(fd)), int64(size(fd)) + 1, -1, -5} {
			to, err := unix.Seek(fd, at, whence)
			fmt.Print(to, " ", err, "; ")
		}
	}
	fmt.Println()
}

func dup(name string) {
	fd := open(name)
	other, err := unix.Dup(fd)
	must(err)
	buf := make([]byte, 1000)
	n, err := unix.Read(fd, buf)
	must(err)
	at, err := unix.Seek(other, 0, unix.SEEK_CUR)
	fmt.Println(n, at, err, digest(rest(other)))
}

func statx(name string) {
	var st unix.Stat_t
	must(unix.Lstat(name, &st))
	var sx unix.Statx_t
	must(unix.Statx(unix.AT_FDCWD, name, 0, unix.STATX_BASIC_STATS, &sx))
	fmt.Printf("%o %o %d %d %d %d", st.Mode, sx.Mode, st.Uid, st.Gid, sx.Blksize, sx.Mtime.Nsec)
	if sx.Mode&unix.S_IFMT == unix.S_IFREG {
		fmt.Print(" ", st.Nlink, st.Size, sx.Size, sx.Mask&unix.STATX_BASIC_STATS == unix.STATX_BASIC_STATS)
		fmt.Print(" ", uint64(st.Blocks)*512 >= sx.Size) // or programs would look for holes
		var again unix.Stat_t
		fd := open(name)
		must(unix.Fstat(fd, &again))
		rest(fd)
		same := again.Ino == st.Ino && again.Dev == st.Dev && again.Ctim == st.Ctim
		must(unix.Fstat(fd, &again))
		fmt.Print(" ", same, again.Ino == st.Ino && again.Mtim == st.Mtim && again.Ctim == st.Ctim)
	}
	fmt.Println()
}

func access(name string) {
	for mode := range uint32(8) {
		fmt.Print(unix.Access(name, mode), "; ", unix.Faccessat(unix.AT_FDCWD, name, mode, unix.AT_EACCESS), "; ")
	}
	fmt.Println()
}

// getdents lists with small buffers, twice through one descriptor.
func getdents(name string) {
	fd := open(name)
	for range 2 {
		var names []string
		buf := make([]byte, 100)
		for {
			n, err := unix.Getdents(fd, buf)
			must(err)
			if n == 0 {
				break
			}
			_, _, names = unix.ParseDirent(buf[:n], -1, names)
		}
		slices.Sort(names)
		_, err := unix.Seek(fd, 0, unix.SEEK_SET)
		fmt.Println(strings.Join(names, " "), err)
	}
}

func flock(name string) {
	a, b := open(name), open(name)
	fmt.Print(unix.Flock(a, unix.LOCK_SH|unix.LOCK_NB), " ", unix.Flock(b, unix.LOCK_SH|unix.LOCK_NB), " ", unix.Flock(b, unix.LOCK_EX|unix.LOCK_NB), " ")
	fmt.Println(unix.Flock(a, unix.LOCK_UN), unix.Flock(b, unix.LOCK_EX|unix.LOCK_NB), unix.Flock(a, unix.LOCK_SH|unix.LOCK_NB))
}

func fcntl(name string) {
	a, b := open(name), open(name)
	for _, cmd := range []int{unix.F_SETLK, unix.F_OFD_SETLK, unix.F_SETLKW} {
		for _, kind := range []int16{unix.F_RDLCK, unix.F_WRLCK, unix.F_UNLCK} {
			for _, fd := range []int{a, b} {
				fmt.Print(unix.FcntlFlock(uintptr(fd), cmd, &unix.Flock_t{Type: kind, Start: 10, Len: 20}), "; ")
			}
		}
	}
	must(unix.FcntlFlock(uintptr(a), unix.F_OFD_SETLK, &unix.Flock_t{Type: unix.F_RDLCK}))
	asked := unix.Flock_t{Type: unix.F_WRLCK}
	err := unix.FcntlFlock(uintptr(b), unix.F_OFD_GETLK, &asked)
	fmt.Println(asked.Type, asked.Start, asked.Len, err)
}

func lease(name string) {
	fd := open(name)
	_, err := unix.FcntlInt(uintptr(fd), unix.F_SETLEASE, unix.F_RDLCK)
	held, err2 := unix.FcntlInt(uintptr(fd), unix.F_GETLEASE, 0)
	_, err3 := unix.FcntlInt(uintptr(fd), unix.F_SETLEASE, unix.F_UNLCK)
	fmt.Println(err, held, err2, err3)
}

func fsync(name string) {
	fd := open(name)
	fmt.Println(unix.Fsync(fd), unix.Fdatasync(fd), unix.Syncfs(fd), unix.SyncFileRange(fd, 0, 100, 0), digest(rest(fd)))
}

func change(name string) {
	fd := open(name)
	_, err := unix.Write(fd, []byte("x"))
	_, err2 := unix.Pwrite(fd, []byte("x"), 0)
	fmt.Print(err, "; ", err2, "; ", unix.Ftruncate(fd, 0), "; ", unix.Fallocate(fd, 0, 0, 10), "; ", unix.Fchmod(fd, 0o777), "; ", unix.Fchown(fd, 1, 1), "; ")
	fmt.Print(unix.Futimes(fd, []unix.Timeval{{}, {}}), "; ", unix.Fsetxattr(fd, "user.x", []byte("y"), 0), "; ")
	fmt.Println(unix.Linkat(fd, "", unix.AT_FDCWD, "x", unix.AT_EMPTY_PATH), digest(rest(fd)))
}

func listxattr(name string) {
	n, err := unix.Listxattr(name, make([]byte, 100))
	fmt.Println(n, err)
}

func getxattr(name string) {
	var errs []string
	for _, attr := range []string{"user.x", "security.capability", "security.selinux", "system.posix_acl_access", "trusted.x"} {
		_, err := unix.Getxattr(name, attr, make([]byte, 100))
		errs = append(errs, fmt.Sprint(err))
	}
	fmt.Println(strings.Join(errs, "; "))
}
