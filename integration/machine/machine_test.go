package machine

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A machine boots, runs units and programs, and leaves nothing.
func TestMachineBootsAndLeavesNothing(t *testing.T) {
	if os.Geteuid() != 0 && os.Getenv("CI") == "" {
		t.Skip("SKIPPED, NOT TESTED: a machine can be booted by root only")
	}
	dir := t.TempDir()
	m, err := Boot(dir)
	if err != nil {
		t.Fatal(err)
	}
	if out, err := m.Run("cat", "/proc/1/comm"); err != nil || out != "systemd\n" {
		t.Errorf("%q, %v", out, err)
	}
	if err := m.Write("/etc/systemd/system/tell.service", "[Service]\nType=oneshot\nExecStart=/bin/echo words for the journal\n", 0o644); err != nil {
		t.Error(err)
	}
	if _, err := m.Run("systemctl", "start", "tell.service"); err != nil {
		t.Error(err)
	}
	if out, err := m.Run("journalctl", "--unit=tell.service", "--output=cat"); err != nil || !strings.Contains(out, "words for the journal\n") {
		t.Errorf("the journal has: %s (%v)", out, err)
	}
	if _, err := m.Run("false"); err == nil {
		t.Error("a program that failed has not")
	}
	if _, err := os.Stat("/etc/systemd/system/tell.service"); err == nil {
		t.Error("the unit is on this machine")
	}
	if err := m.Shutdown(); err != nil {
		t.Error(err)
	}
	for _, pattern := range []string{dir + "/*", "/sys/fs/cgroup/" + m.name, "/sys/fs/cgroup/*/" + m.name, "/run/systemd/nspawn/propagate/" + m.name} {
		if left, err := filepath.Glob(pattern); err != nil || len(left) > 0 {
			t.Errorf("left behind: %v (%v)", left, err)
		}
	}
}
