package mount

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Entry is one line of mountinfo(5), as far as kmsfs needs it.
type Entry struct {
	Device  string   // MAJOR:MINOR, which no two mounted file systems share
	Point   string   // where it is mounted
	Options []string // of this mount: ro, nosuid, …
	Type    string   // fuse.kmsfs, …
	Source  string
	Super   []string // of the file system: default_permissions, …
}

// DeviceNumber is Device as st_dev has it.
func (m Entry) DeviceNumber() (uint64, error) {
	var major, minor uint32
	if _, err := fmt.Sscanf(m.Device, "%d:%d", &major, &minor); err != nil {
		return 0, fmt.Errorf("read mount table: device %q: %w", m.Device, err)
	}
	return unix.Mkdev(major, minor), nil
}

// All reads the mount table of this process.
func All() ([]Entry, error) {
	file, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return nil, fmt.Errorf("read mount table: %w", err)
	}
	defer file.Close()
	return parseTable(file)
}

// At returns what is mounted at a path, the uppermost if several are.
func At(point string) (Entry, bool, error) {
	all, err := All()
	if err != nil {
		return Entry{}, false, err
	}
	for i := len(all) - 1; i >= 0; i-- {
		if all[i].Point == point {
			return all[i], true, nil
		}
	}
	return Entry{}, false, nil
}

// Of finds the mount whose connection a descriptor of /dev/fuse is. A
// kernel that does not tell (fdinfo has it since 6.17 or so) leaves them all.
func Of(device *os.File) ([]Entry, error) {
	all, err := All()
	if err != nil {
		return nil, err
	}
	info, err := os.ReadFile(fmt.Sprintf("/proc/self/fdinfo/%d", device.Fd()))
	if err != nil {
		return nil, fmt.Errorf("read mount table: %w", err)
	}
	return connectedTo(string(info), all), nil
}

func connectedTo(fdinfo string, all []Entry) []Entry {
	device := ""
	for line := range strings.Lines(fdinfo) {
		if v, ok := strings.CutPrefix(line, "fuse_connection:"); ok {
			device = "0:" + strings.TrimSpace(v)
		}
	}
	return slices.DeleteFunc(all, func(m Entry) bool {
		return m.Type != Type || device != "" && m.Device != device
	})
}

// parseTable reads lines of the form
//
//	36 35 98:0 /mnt1 /mnt2 ro,noatime master:1 - ext3 /dev/root rw,errors=continue
//
// with any number of fields before the lone dash, and octal escapes.
func parseTable(r io.Reader) ([]Entry, error) {
	var all []Entry
	s := bufio.NewScanner(r)
	s.Buffer(nil, 1<<20)
	for s.Scan() {
		before, after, ok := strings.Cut(s.Text(), " - ")
		left, right := strings.Split(before, " "), strings.Split(after, " ")
		if !ok || len(left) < 6 || len(right) < 3 {
			return nil, fmt.Errorf("read mount table: malformed line %d", len(all)+1)
		}
		all = append(all, Entry{
			Device: left[2], Point: unescapeOctal(left[4]), Options: strings.Split(left[5], ","),
			Type: right[0], Source: unescapeOctal(right[1]), Super: strings.Split(right[2], ","),
		})
	}
	return all, s.Err()
}

func unescapeOctal(s string) string {
	if !strings.Contains(s, `\`) {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+3 < len(s) {
			if v, err := strconv.ParseUint(s[i+1:i+4], 8, 8); err == nil {
				b.WriteByte(byte(v))
				i += 3
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}
