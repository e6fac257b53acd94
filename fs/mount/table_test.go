package mount

import (
	"fmt"
	"strings"
	"testing"
)

// A descriptor belongs to the mount with its connection's number; a kernel
// that does not tell leaves all of our type.
func TestConnectedTo(t *testing.T) {
	const table = `22 27 0:21 / /proc rw,relatime - proc proc rw
68 43 0:43 / /a ro,nosuid - fuse.kmsfs kmsfs rw,default_permissions
69 43 0:44 / /b ro - fuse.sshfs kmsfs rw
70 43 0:4 / /c\040d ro shared:5 - fuse.kmsfs kmsfs rw
`
	for fdinfo, want := range map[string]string{
		"pos:\t0\nfuse_connection:\t43\n": "/a",
		"pos:\t0\nfuse_connection:\t4\n":  "/c d",
		"pos:\t0\nfuse_connection:\t44\n": "",
		"pos:\t0\nflags:\t0100002\n":      "/a,/c d",
	} {
		all, err := parseTable(strings.NewReader(table))
		if err != nil {
			t.Fatal(err)
		}
		var points []string
		for _, m := range connectedTo(fdinfo, all) {
			points = append(points, m.Point)
		}
		if got := strings.Join(points, ","); got != want {
			t.Errorf("%q: %s, want %s", fdinfo, got, want)
		}
	}
}

func TestParseTable(t *testing.T) {
	table := "36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw,errors=continue\n" +
		`42 27 0:39 / /tmp/a\040b\134 ro,nosuid - fuse.kmsfs /src,allow_other ro,user_id=0,default_permissions` + "\n"
	all, err := parseTable(strings.NewReader(table))
	if err != nil || len(all) != 2 {
		t.Fatalf("%v, %v", all, err)
	}
	got := all[1]
	if got.Point != `/tmp/a b\` || got.Type != Type || got.Source != "/src,allow_other" || fmt.Sprint(got.Options, got.Super) != "[ro nosuid] [ro user_id=0 default_permissions]" {
		t.Errorf("%+v", got)
	}
	if n, err := got.DeviceNumber(); n != 39 || err != nil {
		t.Errorf("device %d, %v", n, err)
	}
	if n, err := (Entry{Device: "39"}).DeviceNumber(); err == nil {
		t.Errorf("device %d", n)
	}
	for _, bad := range []string{"x\n", "1 2 3 4 5\n", "1 2 3 4 5 6 7 8\n"} {
		if all, err := parseTable(strings.NewReader(bad)); err == nil {
			t.Errorf("%q: %v", bad, all)
		}
	}
}
