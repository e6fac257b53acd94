package integration_test

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	mounts "github.com/kmsfs/kmsfs/fs/mount"
	"github.com/kmsfs/kmsfs/integration/lab"
)

// binDir holds the built programs.
var binDir string

func TestMain(m *testing.M) { os.Exit(testMain(m)) }

func testMain(m *testing.M) int {
	root, err := os.MkdirTemp("", "kmsfs-test-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(root)
	flag.Parse()
	// Everything that a test makes lies below, so that what is left is seen.
	temp := filepath.Join(root, "tmp")
	binDir = filepath.Join(root, "bin")
	if err := os.Mkdir(temp, 0o700); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	if *asService {
		binDir = filepath.Dir(os.Args[0]) // they lie beside this program
	} else if err := lab.Build(binDir); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	os.Setenv("TMPDIR", temp)
	os.Setenv("ALIBABA_CLOUD_ECS_METADATA_DISABLED", "true")
	code := m.Run()
	if code == 0 && *asService && services.Load() == 0 {
		fmt.Fprintln(os.Stderr, "no service was started")
		code = 1
	}
	for _, left := range leftovers(root, temp) {
		fmt.Fprintln(os.Stderr, "left behind:", left)
		code = 1
	}
	return code
}

// leftovers lists mounts, processes and files that the tests did not remove.
func leftovers(root, temp string) []string {
	var left []string
	all, err := mounts.All()
	if err != nil {
		left = append(left, err.Error())
	}
	for _, m := range all {
		if strings.HasPrefix(m.Point, temp) {
			left = append(left, "mount "+m.Point)
		}
	}
	for _, p := range processes(root) {
		left = append(left, "process "+p)
	}
	entries, err := os.ReadDir(temp)
	if err != nil {
		left = append(left, err.Error())
	}
	for _, e := range entries {
		left = append(left, "file "+filepath.Join(temp, e.Name()))
	}
	return left
}

// built is a program of the tests, and compiled when one of them needs it. On
// a machine without a compiler it has been before.
func built(t testing.TB, directory string) string {
	t.Helper()
	path := filepath.Join(binDir, filepath.Base(directory))
	if *asService {
		return path
	}
	build := exec.Command("go", "build", "-o", path, directory)
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build %s: %v\n%s", directory, err, out)
	}
	return path
}

// processes lists live processes whose command line names a directory, other
// than this one.
func processes(dir string) []string {
	var found []string
	dirs, _ := filepath.Glob("/proc/[0-9]*")
	for _, d := range dirs {
		cmdline, err := os.ReadFile(d + "/cmdline")
		if err != nil || filepath.Base(d) == fmt.Sprint(os.Getpid()) || !strings.Contains(string(cmdline), dir) {
			continue // zombies have no command line
		}
		found = append(found, filepath.Base(d)+" "+strings.ReplaceAll(string(cmdline), "\x00", " "))
	}
	return found
}

// needMount ends a test that cannot work here: in CI that is a failure, and
// only elsewhere a loud skip.
func needMount(t testing.TB) {
	t.Helper()
	why := ""
	if os.Geteuid() != 0 {
		why = "not root"
	} else if f, err := os.OpenFile("/dev/fuse", os.O_RDWR, 0); err != nil {
		why = err.Error()
	} else {
		f.Close()
	}
	if why == "" {
		return
	}
	if os.Getenv("CI") != "" {
		t.Fatalf("real mounts are needed here: %s", why)
	}
	t.Skipf("SKIPPED, NOT TESTED: real mounts are needed (%s)", why)
}
