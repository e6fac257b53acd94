// Command probe reads files with one system call or library function and says
// what came of it: probe WAY FILE...
package main

import (
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

var ways = map[string]func(name string){
	"readfile": readFile, "iocopy": ioCopy, "lines": lines, "readat": readAt, "http": serveHTTP,
	"open": openFlags, "openat2": openat2, "opath": oPath, "end": readAtEnd, "preadv": preadv, "lseek": lseek, "dup": dup,
	"statx": statx, "access": access, "getdents": getdents, "splice": splice, "sendfile": sendfile, "copyrange": copyRange,
	"advise": advise, "poll": poll, "flock": flock, "fcntl": fcntl, "fsync": fsync, "change": change, "fionread": fionread,
	"inotify": inotify, "readers": readers, "descriptors": descriptors, "private": mapPrivate, "sigbus": mapBehind, "shared": mapShared,
	"listxattr": listxattr, "getxattr": getxattr, "lease": lease, "epoll": epoll, "nowait": nowait, "statfs": statfs,
}

// whole works on the directory.
var whole = map[string]func(){"dirfs": dirFS, "copyfs": copyFS, "tls": handshake}

func main() {
	if len(os.Args) == 2 && whole[os.Args[1]] != nil {
		whole[os.Args[1]]()
		return
	}
	if len(os.Args) < 3 || ways[os.Args[1]] == nil {
		fmt.Fprintln(os.Stderr, "usage: probe WAY FILE...")
		os.Exit(2)
	}
	for _, name := range os.Args[2:] {
		fmt.Print(name, ": ")
		ways[os.Args[1]](name)
	}
}

// out is where to write.
func out(name string) string { return filepath.Join(os.Getenv("O"), name) }

func must(err error) {
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
}

func open(name string) int {
	fd, err := unix.Open(name, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	must(err)
	return fd
}

func size(fd int) int {
	var st unix.Stat_t
	must(unix.Fstat(fd, &st))
	return int(st.Size)
}

// digest tells contents apart in few characters.
func digest(b []byte) string { return fmt.Sprintf("%d bytes %.8x", len(b), sha256.Sum256(b)) }

// rest reads a descriptor to its end.
func rest(fd int) []byte {
	var all []byte
	buf := make([]byte, 1<<16)
	for {
		n, err := unix.Read(fd, buf)
		must(err)
		if n == 0 {
			return all
		}
		all = append(all, buf[:n]...)
	}
}
