package options

import (
	"os"
	"strings"
	"testing"
)

// The README's table of options is the table of options.
func TestReadmeOptions(t *testing.T) {
	b, err := os.ReadFile("../../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, ok := strings.Cut(string(b), "<!-- options -->\n")
	table, _, end := strings.Cut(rest, "<!-- end -->")
	if !ok || !end {
		t.Fatal("the README has no table of options")
	}
	lines := strings.Split(strings.TrimSpace(table), "\n")
	if len(lines) != len(Table) {
		t.Fatalf("the README has %d options, the program %d", len(lines), len(Table))
	}
	for i, o := range Table {
		name, deflt := o.Key, o.Default // the table escapes |
		if o.Value != "" {
			name += "=" + strings.ReplaceAll(o.Value, "|", `\|`)
		}
		switch o.Key {
		case "uid":
			deflt = "the mounting user"
		case "gid":
			deflt = "the mounting user's"
		}
		want := "| `" + name + "` | " + deflt + " | " + o.Help + " |"
		if got := strings.ReplaceAll(lines[i], "|  |", "| |"); got != strings.ReplaceAll(want, "|  |", "| |") {
			t.Errorf("README: %s\nprogram: %s", lines[i], want)
		}
	}
}
