package opening_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/kmsfs/kmsfs/integration/harness"
)

// Listing makes no call, and the sizes are those of the plaintexts.
func TestMetadataCostsNoCall(t *testing.T) {
	l := harness.NewLab(t)
	sizes := []int{1, 17, 1704, 6144}
	var blobs []string
	for _, n := range sizes {
		blobs = append(blobs, harness.Seal(t, l, harness.Lengthy("s", n)))
	}
	sources := map[int]string{1_000: t.TempDir()}
	if !*harness.AsService { // how many there are is the same to a service
		sources[100_000] = t.TempDir()
	}
	for count, source := range sources {
		for i := range count {
			dir := filepath.Join(source, fmt.Sprintf("d%03d", i/500))
			if i%500 == 0 {
				if err := os.Mkdir(dir, 0o700); err != nil {
					t.Fatal(err)
				}
			}
			if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("f%06d.cipher", i)), []byte(blobs[i%len(blobs)]), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	harness.EachMode(t, func(t *testing.T, mode string) {
		for count, source := range sources {
			t.Run(fmt.Sprint(count), func(t *testing.T) {
				m := harness.Mount(t, l, source, mode)
				if err := l.ResetCalls(); err != nil {
					t.Fatal(err)
				}
				out, err := exec.Command("ls", "-lR", m.Point).CombinedOutput()
				if err != nil {
					t.Fatalf("%v\n%.1000s", err, out)
				}
				files := 0
				for line := range strings.Lines(string(out)) {
					f := strings.Fields(line)
					if len(f) != 9 || f[0][0] != '-' {
						continue
					}
					var i int
					if _, err := fmt.Sscanf(f[8], "f%06d", &i); err != nil {
						t.Fatalf("listed: %q", line)
					}
					if f[4] != fmt.Sprint(sizes[i%len(sizes)]) {
						t.Fatalf("size of file %d is %s, want %d", i, f[4], sizes[i%len(sizes)])
					}
					files++
				}
				if files != count {
					t.Errorf("%d files listed, want %d", files, count)
				}
				for _, cmd := range [][]string{{"find", m.Point, "-type", "f", "-size", "+1"}, {"du", "-s", m.Point}, {"stat", m.Path("d000/f000000")}, {"df", m.Point}} {
					if out, err := exec.Command(cmd[0], cmd[1:]...).CombinedOutput(); err != nil {
						t.Errorf("%v: %v\n%.300s", cmd, err, out)
					}
				}
				if n := harness.TotalCalls(t, l); n != 0 {
					t.Errorf("%d calls, want none", n)
				}
			})
		}
	})
}
