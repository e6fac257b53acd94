package supervise

import (
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// roleEnv says what this program does when a test tries it.
const roleEnv = "SUPERVISE_TEST_ROLE"

func init() {
	if role := os.Getenv(roleEnv); role != "" && os.Getenv(rehearsalEnv) != "" {
		os.Exit(rehearsing(role))
	}
}

func rehearsing(role string) (code int) {
	in, err := Inherit()
	if err != nil || !in.Rehearsal || in.Line == nil || in.Line.Device != nil || in.Line.Journal == nil || in.Line.Source == nil {
		os.Stderr.WriteString("kmsfs: the inheritance of a rehearsal is wrong\n")
		return 1
	}
	ready := InheritReadiness(false)
	switch role {
	case "fit":
		ready.Report()
	case "fit, then fails":
		ready.Report()
		return 3
	case "refuses":
		os.Stderr.WriteString("kmsfs: warning: something\nkmsfs: read credentials: no \x1b credentials\nhint: set them\n")
		return 1
	case "dies":
		unix.Kill(os.Getpid(), unix.SIGKILL)
	}
	return 0
}

// A program that is tried has all that a successor has but the device. It is fit if
// it says that it could serve and ends well; else its own words say why not.
func TestProgramIsTriedWithEverythingButTheDevice(t *testing.T) {
	p, err := ownProgram()
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	line := lifelineOf(numbered(t, 3))
	for role, want := range map[string]string{
		"fit":             "",
		"fit, then fails": "cannot serve this mount: exit status 3",
		"refuses":         `cannot serve this mount: read credentials: no \x1b credentials`,
		"dies":            "cannot serve this mount: signal: killed",
		"says nothing":    "cannot serve this mount: it says nothing",
	} {
		t.Setenv(roleEnv, role)
		err := p.Rehearse(line, t.TempDir(), Inheritance{Background: true})
		if want == "" && err != nil || want != "" && (err == nil || !strings.HasSuffix(err.Error(), want)) {
			t.Errorf("%s: %v, want %q", role, err, want)
		}
	}
}
