package supervise

import (
	"context"
	"os/exec"
	"strings"
	"time"

	"github.com/kmsfs/kmsfs/cmd/kmsfs/ui"
)

// systemdPatience bounds a question to systemd.
const systemdPatience = 5 * time.Second

// Job is what systemd is about to do with a unit: stop, restart, …; empty:
// nothing.
func Job(unit string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), systemdPatience)
	defer cancel()
	jobs, err := exec.CommandContext(ctx, "/bin/systemctl", "list-jobs", "--no-legend", "--no-pager", "--full", "--plain").Output()
	if err != nil {
		return "", ui.Failf("ask systemd for jobs: %w", err)
	}
	return jobOf(unit, string(jobs)), nil
}

func jobOf(unit, jobs string) string {
	job := ""
	for line := range strings.Lines(jobs) { // number, unit, type, state
		if f := strings.Fields(line); len(f) >= 3 && f[1] == unit {
			job = f[2]
		}
	}
	return job
}

// GoesOn tells, when the main process of a service has ended with that result
// (systemd.exec(5), SERVICE_RESULT), whether systemd starts another one.
func GoesOn(job, result string) bool {
	switch job {
	case "stop":
		return false
	case "restart", "try-restart", "start":
		return true
	}
	return result != "success"
}
