package machine

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// cgroupRoot is where cgroup2 is mounted: alone, or beside the old ones.
func cgroupRoot() string {
	var st unix.Statfs_t
	if unix.Statfs("/sys/fs/cgroup", &st) == nil && st.Type == unix.CGROUP2_SUPER_MAGIC {
		return "/sys/fs/cgroup"
	}
	return "/sys/fs/cgroup/unified"
}

// Processes are those of a unit's cgroup and below, in the numbers of this
// machine. A cgroup that is gone has none.
func (m *Machine) Processes(cgroup string) ([]int, error) {
	if cgroup == "" {
		return nil, nil
	}
	var pids []int
	err := filepath.WalkDir(filepath.Join(cgroupRoot(), m.name, "payload", cgroup), func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.Name() != "cgroup.procs" {
			return gone(err)
		}
		list, err := os.ReadFile(path)
		for line := range strings.FieldsSeq(string(list)) {
			pid, err := strconv.Atoi(line)
			if err != nil {
				return err
			}
			pids = append(pids, pid)
		}
		return gone(err)
	})
	return pids, err
}

// gone takes for no error what may happen when a cgroup ends meanwhile.
func gone(err error) error {
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENODEV) {
		return nil
	}
	return err
}

// removeCgroups removes what nspawn and systemd made below the machine's name,
// in every hierarchy. The kernel lets go of the last process a moment after
// its end.
func (m *Machine) removeCgroups() error {
	roots, err := filepath.Glob("/sys/fs/cgroup/*/" + m.name)
	if err != nil {
		return err
	}
	for _, root := range append(roots, "/sys/fs/cgroup/"+m.name) {
		var dirs []string
		filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
			if err == nil && d.IsDir() {
				dirs = append(dirs, path)
			}
			return nil
		})
		for _, dir := range slices.Backward(dirs) {
			err := syscall.Rmdir(dir)
			for begun := time.Now(); errors.Is(err, syscall.EBUSY) && time.Since(begun) < patience; err = syscall.Rmdir(dir) {
				time.Sleep(5 * time.Millisecond)
			}
			if err != nil && !errors.Is(err, os.ErrNotExist) {
				return fmt.Errorf("shut down: remove cgroup %s: %w", dir, err)
			}
		}
	}
	return nil
}
