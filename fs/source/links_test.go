package source

import "testing"

func TestConfine(t *testing.T) {
	for _, c := range []struct {
		rel, target string
		want        bool
	}{
		{"l", "x", true}, {"l", "./x", true}, {"l", "d/x", true}, {"l", "d//x/", true}, {"l", ".", true},
		{"d/l", "../x", true}, {"d/l", "./../x", true}, {"d/e/l", "../../x", true}, {"d/l", "..", true}, {"l", "..data/x", true},
		{"l", "", false}, {"l", "/", false}, {"l", "/etc/passwd", false}, {"l", "..", false}, {"l", "../x", false},
		{"d/l", "../../x", false}, {"d/l", "x/../y", false}, {"d/e/l", "../x/../../../y", false}, {"l", "./../x", false}, {"l", "x\x00y", false},
	} {
		if got := Confine(c.rel, c.target); got != c.want {
			t.Errorf("Confine(%q, %q) = %t", c.rel, c.target, got)
		}
	}
}
