package fs

import (
	"strings"
	"testing"
)

// A descriptor belongs to the mount with its connection's number; a kernel
// that does not tell leaves all of our type.
func TestMountsOf(t *testing.T) {
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
		all, err := parseMounts(strings.NewReader(table))
		if err != nil {
			t.Fatal(err)
		}
		var points []string
		for _, m := range mountsOf(fdinfo, all) {
			points = append(points, m.Point)
		}
		if got := strings.Join(points, ","); got != want {
			t.Errorf("%q: %s, want %s", fdinfo, got, want)
		}
	}
}
