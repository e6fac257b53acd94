package clients

import (
	"fmt"
	"os/exec"
	"path/filepath"
)

// BuildGoV3 builds the adapter of Go's second SDK out of its own module.
func BuildGoV3(dir, program string) error {
	path, err := filepath.Abs(program)
	if err != nil {
		return err
	}
	build := exec.Command("go", "build", "-o", path, ".")
	build.Dir = dir
	if out, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("build %s: %w\n%s", dir, err, out)
	}
	return nil
}

// GoV3 starts what BuildGoV3 built. The algorithm is the SDK's own name for a
// signature; empty is its default.
func GoV3(t Target, program, algorithm string) (Client, error) {
	return start(t, t.Home, program, algorithm)
}
