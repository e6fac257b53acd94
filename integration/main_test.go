package integration_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/kmsfs/kmsfs/fs"
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
	// Everything that a test makes lies below, so that what is left is seen.
	temp := filepath.Join(root, "tmp")
	binDir = filepath.Join(root, "bin")
	if err := os.Mkdir(temp, 0o700); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	if err := lab.Build(binDir); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	os.Setenv("TMPDIR", temp)
	os.Setenv("ALIBABA_CLOUD_ECS_METADATA_DISABLED", "true")
	code := m.Run()
	for _, left := range leftovers(temp) {
		fmt.Fprintln(os.Stderr, "left behind:", left)
		code = 1
	}
	return code
}

// leftovers lists mounts, processes and files that the tests did not remove.
func leftovers(temp string) []string {
	var left []string
	all, err := fs.Mounts()
	if err != nil {
		left = append(left, err.Error())
	}
	for _, m := range all {
		if strings.HasPrefix(m.Point, temp) {
			left = append(left, "mount "+m.Point)
		}
	}
	for _, p := range processes(filepath.Dir(binDir)) {
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
