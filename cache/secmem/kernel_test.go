package secmem

import (
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

var mapping = regexp.MustCompile(`^([0-9a-f]+)-([0-9a-f]+) `)

// smaps returns what the kernel says about the mapping that holds b.
func smaps(t *testing.T, b []byte) map[string]string {
	t.Helper()
	text, err := os.ReadFile("/proc/self/smaps")
	if err != nil {
		t.Fatal(err)
	}
	var about map[string]string
	for line := range strings.Lines(string(text)) {
		if m := mapping.FindStringSubmatch(line); m != nil {
			if about != nil {
				break
			}
			var from, to uintptr
			if _, err := fmt.Sscanf(m[1]+" "+m[2], "%x %x", &from, &to); err != nil {
				t.Fatal(err)
			}
			if from <= address(b) && address(b) < to {
				about = make(map[string]string)
			}
		} else if k, v, ok := strings.Cut(line, ":"); ok && about != nil {
			about[k] = strings.TrimSpace(v)
		}
	}
	if about == nil {
		t.Fatal("no mapping holds it")
	}
	return about
}

// The kernel confirms it: no dumps (dd), locked (lo), wiped on fork (wf).
func TestKernelAgrees(t *testing.T) {
	a := open(t, 4<<20)
	if a.Warning() != "" {
		t.Log(a.Warning())
	}
	for name, n := range map[string]int{"a cell": 1700, "a mapping of its own": chunkSize + 1} {
		b := alloc(t, a, n)
		about := smaps(t, b)
		flags := strings.Fields(about["VmFlags"])
		for _, want := range []string{"dd", "lo", "wf"} {
			if !slices.Contains(flags, want) {
				t.Errorf("%s: VmFlags %v lack %s", name, flags, want)
			}
		}
		if about["Locked"] == "0 kB" || about["Locked"] != about["Size"] && about["Locked"] != about["Pss"] {
			t.Errorf("%s: Size %s, Locked %s", name, about["Size"], about["Locked"])
		}
		a.Free(b)
	}
	if s := a.Stats(); s.Locked != s.Mapped {
		t.Errorf("%+v", s)
	}
}
