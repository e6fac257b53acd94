package integration_test

import (
	"bufio"
	"cmp"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// BenchmarkOpenReadClose opens, reads and closes a file of 1.7 KB that is in
// the cache, on kmsfs, on tmpfs, and on the loopback example of go-fuse. The
// places take turns in short rounds, and what is reported is the median of
// the rounds' ratios: a machine whose speed drifts changes neither.
func BenchmarkOpenReadClose(b *testing.B) {
	if os.Geteuid() != 0 {
		b.Skip("needs root")
	}
	t := bench{b}
	plaintext := lengthy("bench", 1704)
	places := []struct{ name, path string }{
		{"kmsfs", t.kmsfs(plaintext)},
		{"tmpfs", t.tmpfs(plaintext)},
		{"loopback", t.loopback(plaintext)},
	}
	for _, p := range places {
		if got, err := os.ReadFile(p.path); err != nil || string(got) != plaintext {
			b.Fatalf("%s reads %.20q, %v", p.name, got, err)
		}
	}
	const each = 200 // reads per turn
	times := make([][]float64, len(places))
	buf := make([]byte, 4096)
	for b.Loop() {
		for i, p := range places {
			begun := time.Now()
			for range each {
				fd, err := unix.Open(p.path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
				if err != nil {
					b.Fatal(err)
				}
				if n, err := unix.Read(fd, buf); n != len(plaintext) {
					b.Fatal(n, err)
				}
				unix.Close(fd)
			}
			times[i] = append(times[i], float64(time.Since(begun).Nanoseconds())/each)
		}
	}
	ratio := func(other int) float64 {
		var r []float64
		for round := range times[0] {
			r = append(r, times[0][round]/times[other][round])
		}
		return median(r)
	}
	b.ReportMetric(0, "ns/op") // a round of three places means nothing
	b.ReportMetric(median(times[0])/1000, "kmsfs-µs")
	b.ReportMetric(median(times[1])/1000, "tmpfs-µs")
	b.ReportMetric(median(times[2])/1000, "loopback-µs")
	b.ReportMetric(ratio(1), "×tmpfs")
	b.ReportMetric(ratio(2), "×loopback")
}

func median(v []float64) float64 {
	s := slices.Clone(v)
	slices.SortFunc(s, cmp.Compare)
	return s[len(s)/2]
}

// bench sets up the places.
type bench struct{ *testing.B }

// kmsfs mounts as in service: in the background, with its log in a file.
func (b bench) kmsfs(plaintext string) string {
	l := newLab(b.B)
	source, point := b.TempDir(), b.TempDir()
	put(b, source+"/f.cipher", seal(b.B, l, plaintext))
	if _, err := l.Kmsfs(nil, "mount", "-o", "allow_emulator,ttl=1h,log_file="+filepath.Join(b.TempDir(), "log"), source, point); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if _, err := l.Kmsfs(nil, "umount", point); err != nil {
			b.Error(err)
		}
		waitGone(b, point)
	})
	return point + "/f"
}

func (b bench) tmpfs(plaintext string) string {
	dir := b.TempDir()
	if err := unix.Mount("none", dir, "tmpfs", 0, "size=1m"); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { unix.Unmount(dir, 0) })
	put(b, dir+"/f", plaintext)
	return dir + "/f"
}

// loopback mirrors a tmpfs. As root it hands the kernel the file to read from
// (passthrough), which is the fastest it can be.
func (b bench) loopback(plaintext string) string {
	program := filepath.Join(b.TempDir(), "loopback")
	if out, err := exec.Command("go", "build", "-o", program, "github.com/hanwen/go-fuse/v2/example/loopback").CombinedOutput(); err != nil {
		b.Fatalf("%v\n%s", err, out)
	}
	source, point := filepath.Dir(b.tmpfs(plaintext)), b.TempDir()
	cmd := exec.Command(program, "-directmountstrict", "-allow-other", point, source)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out, err := cmd.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		unix.Unmount(point, 0)
		cmd.Wait()
	})
	for s := bufio.NewScanner(out); s.Scan(); {
		if strings.Contains(s.Text(), "ounted") {
			return point + "/f"
		}
	}
	b.Fatal("loopback did not mount")
	return ""
}
