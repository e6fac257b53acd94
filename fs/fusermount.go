package fs

import (
	"bytes"
	"fmt"
	"os/exec"
	"strings"
	"syscall"
)

// fusermount unmounts through the set-uid program of fuse3, which is how a
// user other than root may end a mount of their own.
func fusermount(point string, lazy bool) error {
	args := []string{"-u"}
	if lazy {
		args = append(args, "-z")
	}
	path, err := exec.LookPath("fusermount3")
	if err != nil {
		path = "/bin/fusermount3" // mount(8) starts its helpers without PATH
	}
	var stderr bytes.Buffer
	cmd := exec.Command(path, append(args, "--", point)...)
	cmd.Stderr = &stderr
	if err := cmd.Run(); err != nil {
		text := strings.TrimSpace(stderr.String())
		if strings.Contains(text, "busy") {
			return fmt.Errorf("unmount %s: %w", point, syscall.EBUSY)
		}
		if text == "" {
			text = err.Error()
		}
		return fmt.Errorf("unmount %s: %s", point, text)
	}
	return nil
}
