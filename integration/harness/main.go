// Package harness is what the tests of all themes share: the lab and its keys, a
// mount in each of its three forms (a foreground process, a background one, a
// unit), hosts and guests, servers that use a mount, and the one way to wait.
//
// A package of tests hands itself to Main. Main builds the programs, and fails
// when a test leaves a mount, a process or a file behind.
package harness

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	mounts "github.com/kmsfs/kmsfs/fs/mount"
	"github.com/kmsfs/kmsfs/integration/lab"
)

// BinDir holds the built programs.
var BinDir string

// Main builds the programs, runs the tests of a package, and fails when they
// leave a mount, a process or a file behind.
func Main(m *testing.M) { os.Exit(testMain(m)) }

func testMain(m *testing.M) int {
	becomeChild()
	root, err := os.MkdirTemp("", "kmsfs-test-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(root)
	flag.Parse()
	Checkout() // before a test goes elsewhere
	// Everything that a test makes lies below, so that what is left is seen.
	temp := filepath.Join(root, "tmp")
	BinDir = filepath.Join(root, "bin")
	if err := os.Mkdir(temp, 0o700); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	if *AsService {
		BinDir = filepath.Dir(os.Args[0]) // they lie beside this program
	} else if err := lab.Build(BinDir); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	os.Setenv("TMPDIR", temp)
	os.Setenv("ALIBABA_CLOUD_ECS_METADATA_DISABLED", "true")
	code := m.Run()
	if code == 0 && *AsService && services.Load() == 0 {
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
	for _, p := range ProcessesNaming(root) {
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
