package ciphertexts

import (
	"encoding/binary"
	"errors"
	"os"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func itoa(i int) string { return strconv.Itoa(i) }

// anACL lets uid 33 read: the kernel's form of getfacl's rw-,user:33:r--,r--,mask r--,---.
func anACL() []byte {
	b := binary.LittleEndian.AppendUint32(nil, 2)
	for _, e := range []struct {
		tag, perm uint16
		id        uint32
	}{{1, 6, ^uint32(0)}, {2, 4, 33}, {4, 4, ^uint32(0)}, {16, 4, ^uint32(0)}, {32, 0, ^uint32(0)}} {
		b = binary.LittleEndian.AppendUint16(b, e.tag)
		b = binary.LittleEndian.AppendUint16(b, e.perm)
		b = binary.LittleEndian.AppendUint32(b, e.id)
	}
	return b
}

func setAttribute(t *testing.T, path, name string, value []byte) {
	t.Helper()
	err := unix.Setxattr(path, name, value, 0)
	if errors.Is(err, unix.EOPNOTSUPP) {
		t.Skipf("SKIPPED, NOT TESTED: the file system of TMPDIR has no %s", name)
	} else if err != nil {
		t.Fatal(err)
	}
}

// A file that is replaced leaves its permissions, its ACL and its attributes to
// the next one, and nothing of the directory's default ACL is added.
func TestKeepAttributes(t *testing.T) {
	dir := t.TempDir()
	path := dir + "/a"
	if err := os.WriteFile(path, []byte("old"), 0o640); err != nil {
		t.Fatal(err)
	}
	if os.Geteuid() == 0 {
		if err := os.Chown(path, 33, 34); err != nil {
			t.Fatal(err)
		}
	}
	setAttribute(t, path, "user.note", []byte("kept"))
	setAttribute(t, dir, "system.posix_acl_default", anACL())
	replace := func() {
		t.Helper()
		if lost, err := writeNew(path, []byte("new"), true, kernelNaming); err != nil || lost != "" {
			t.Fatalf("%q, %v", lost, err)
		}
		if got, _ := os.ReadFile(path); string(got) != "new" {
			t.Errorf("%q", got)
		}
	}
	replace()
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil || st.Mode&0o7777 != 0o640 || os.Geteuid() == 0 && (st.Uid != 33 || st.Gid != 34) {
		t.Errorf("mode %o, owner %d:%d, %v", st.Mode, st.Uid, st.Gid, err)
	}
	value := make([]byte, 64)
	if n, err := unix.Getxattr(path, "user.note", value); err != nil || string(value[:n]) != "kept" {
		t.Errorf("user.note: %q, %v", value[:max(n, 0)], err)
	}
	if n, err := unix.Getxattr(path, accessACL, value); !errors.Is(err, unix.ENODATA) {
		t.Errorf("an ACL that the old file had not: %d bytes, %v", n, err)
	}
	setAttribute(t, path, accessACL, anACL())
	replace()
	if n, err := unix.Getxattr(path, accessACL, value); err != nil || string(value[:n]) != string(anACL()) {
		t.Errorf("ACL: %x, %v", value[:max(n, 0)], err)
	}
	if err := unix.Stat(path, &st); err != nil || st.Mode&0o7777 != 0o640 {
		t.Errorf("mode %o, %v", st.Mode, err)
	}
}

// Without the rights for it the owner is lost, which is said, and a group's
// permissions are not given to another one.
func TestOwnerIsLost(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("SKIPPED, NOT TESTED: not root")
	}
	dir := t.TempDir()
	path := dir + "/a"
	for _, name := range []string{path, dir + "/next"} {
		if err := os.WriteFile(name, nil, 0o664); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chown(path, 33, 34); err != nil {
		t.Fatal(err)
	}
	// A descriptor of O_PATH refuses changes, as somebody else's file does.
	next, err := os.OpenFile(dir+"/next", unix.O_PATH, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer next.Close()
	lost, err := keepAttributes(path, next)
	if err != nil || !strings.Contains(lost, "owner is uid 0 now, no longer 33") || !strings.Contains(lost, "gid 0 now, no longer 34, with the permissions of others") {
		t.Errorf("%q, %v", lost, err)
	}
}
