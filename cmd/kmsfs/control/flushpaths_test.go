package control

import "testing"

// A path is understood by its text: relative to the mount, or beneath the
// mountpoint as it was typed or as the mount table has it.
func TestBeneath(t *testing.T) {
	for _, c := range []struct{ path, want string }{
		{"key.pem", "key.pem"}, {"./a//b/", "a/b"}, {"a/../b", "b"}, {".", "."}, {"..", ""}, {"a/../../b", ""}, {"", ""}, {"a\x00b", ""},
		{"/run/certs", "."}, {"/run/certs/a", "a"}, {"/run/certs/", "."}, {"/link/a", "a"}, {"/link/../run/certs/a", "a"},
		{"/run/certs2/a", ""}, {"/run", ""}, {"/", ""}, {"/run/certs/../x", ""},
	} {
		got, ok := beneath("/link", "/run/certs", c.path)
		if ok != (c.want != "") || ok && got != c.want {
			t.Errorf("%q: %q, %t; want %q", c.path, got, ok, c.want)
		}
	}
}
