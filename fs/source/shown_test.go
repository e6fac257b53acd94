package source

import "testing"

func TestShownNames(t *testing.T) {
	for _, c := range []struct {
		name        string
		kind        uint32
		hide, plain string
	}{
		{"a.cipher", ModeFile, "a", "a"}, {"a.cipher.cipher", ModeFile, "a.cipher", "a.cipher"}, {".cipher", ModeFile, "", ""},
		{"a", ModeFile, "", "a"}, {"a.cipher", ModeDir, "a.cipher", "a.cipher"}, {"a", ModeDir, "a", "a"}, {".cipher", ModeDir, ".cipher", ".cipher"},
		{"a.cipher", ModeLink, "a", "a"}, {"a", ModeLink, "a", "a"}, {".cipher", ModeLink, "", ""}, {"a.Cipher", ModeFile, "", "a.Cipher"},
	} {
		if got := (Entry{c.name, c.kind}).ShownName(false); got != c.hide {
			t.Errorf("%q: %q, want %q", c.name, got, c.hide)
		}
		if got := (Entry{c.name, c.kind}).ShownName(true); got != c.plain {
			t.Errorf("%q, plain: %q, want %q", c.name, got, c.plain)
		}
	}
}
