package systemd_test

import (
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"

	"github.com/kmsfs/kmsfs/integration/harness"
)

// kmsfs@NAME.service serves what its file describes, says how it is, and is
// watched.
func TestServiceServesAndIsWatched(t *testing.T) {
	h := harness.BootKmsfs(t)
	h.Put(t, "/srv/certs/name-of-a-file.cipher", harness.Seal(t, h.Lab, "the secret"))
	const unit = "kmsfs@certs.service"
	h.Serve(t, "certs", "/srv/certs", "/run/certs")
	if got := h.Must(t, "cat", "/run/certs/name-of-a-file"); got != "the secret" {
		t.Errorf("reads %q", got)
	}
	h.Fails(t, "cat", "/run/certs/other")

	t.Run("Journal", func(t *testing.T) {
		h.Journal(t, unit)
		out := h.Must(t, "journalctl", "--output=json", "_SYSTEMD_UNIT="+unit, "KMSFS_PATH=name-of-a-file.cipher")
		var record map[string]string
		if err := json.Unmarshal([]byte(strings.SplitN(out, "\n", 2)[0]), &record); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		for field, want := range map[string]string{"KMSFS_UID": "0", "PRIORITY": "6", "SYSLOG_IDENTIFIER": "kmsfs"} {
			if record[field] != want {
				t.Errorf("%s is %q", field, record[field])
			}
		}
		if m := record["MESSAGE"]; !strings.HasPrefix(m, "msg=open ") || !strings.Contains(m, " path=name-of-a-file.cipher ") {
			t.Errorf("the message is %q", m)
		}
	})

	t.Run("Sandbox", func(t *testing.T) {
		status := h.Must(t, "cat", "/proc/"+h.State(t, unit, "MainPID")+"/status")
		server := strings.TrimSpace(h.Must(t, "id", "--user", "kmsfs"))
		for _, want := range []string{
			"\nUid:\t" + server + "\t" + server + "\t" + server + "\t" + server + "\n",
			"\nCapEff:\t0000000010000004\n", // CAP_DAC_READ_SEARCH, CAP_LEASE and nothing else
			"\nCapBnd:\t0000000010000004\n",
			"\nNoNewPrivs:\t1\n",
			"\nSeccomp:\t2\n",
		} {
			if !strings.Contains(status, want) {
				t.Errorf("not %q:\n%s", want, status)
			}
		}
		if limit := h.Must(t, "grep", "Max core", "/proc/"+h.State(t, unit, "MainPID")+"/limits"); strings.Join(strings.Fields(limit), " ") != "Max core file size 0 0 bytes" {
			t.Errorf("cores: %s", limit)
		}
	})

	t.Run("Somebody else's mount", func(t *testing.T) {
		h.Put(t, "/etc/kmsfs/second.env", "SRC=/srv/certs\nMNT=/run/certs\nOPTIONS="+h.Options()+"\n")
		h.Fails(t, "systemctl", "start", "kmsfs@second")
		if log := h.Journal(t, "kmsfs@second"); !strings.Contains(log, "kmsfs is mounted there already") {
			t.Errorf("the journal says\n%s", log)
		}
		h.Must(t, "systemctl", "stop", "kmsfs@second")
		if got := h.Must(t, "cat", "/run/certs/name-of-a-file"); got != "the secret" {
			t.Errorf("the first service's mount reads %q", got)
		}
	})

	t.Run("Over its own source", func(t *testing.T) {
		for name, point := range map[string]string{"same": "/srv/certs", "above": "/srv"} {
			h.Put(t, "/etc/kmsfs/"+name+".env", "SRC=/srv/certs\nMNT="+point+"\nOPTIONS=nonempty,"+h.Options()+"\n")
			h.Fails(t, "systemctl", "start", "kmsfs@"+name)
			if log := h.Journal(t, "kmsfs@"+name); !strings.Contains(log, `the source "/srv/certs" lies beneath it`) {
				t.Errorf("the journal says\n%s", log)
			}
			h.Must(t, "systemctl", "stop", "kmsfs@"+name)
			h.Fails(t, "findmnt", "--mountpoint", point)
		}
	})

	t.Run("Watchdog", func(t *testing.T) {
		h.Must(t, "systemctl", "stop", unit)
		h.Unit(t, unit+".d/fast.conf", "[Service]\nWatchdogSec=1\n")
		h.Start(t, unit)
		if err := h.Lab.ResetCalls(); err != nil {
			t.Fatal(err)
		}
		// Fed with more than the first answer, without a call or an open.
		fed := func() string { return h.State(t, unit, "WatchdogTimestampMonotonic") }
		begun := fed()
		h.Until(t, unit, "fed", func() bool { return fed() != begun })
		if n := harness.TotalCalls(t, h.Lab); n != 0 {
			t.Errorf("feeding the watchdog cost %d calls", n)
		}
		if status := h.State(t, unit, "StatusText"); !strings.Contains(status, "Mounted; ") || strings.Contains(status, "name-of-a-file") {
			t.Errorf("the status is %q", status)
		}
		harness.Stop(t, h.ProcessesOf(t, unit))
		h.Until(t, unit, "restarted", func() bool {
			return h.State(t, unit, "NRestarts") == "1" && h.State(t, unit, "ActiveState") == "active"
		})
		if got := h.Must(t, "cat", "/run/certs/name-of-a-file"); got != "the secret" {
			t.Errorf("after the restart it reads %q", got)
		}
		if log := h.Journal(t, unit); !strings.Contains(log, "Watchdog timeout") {
			t.Errorf("the journal does not say why:\n%s", log)
		}
		h.Must(t, "rm", "/etc/systemd/system/"+unit+".d/fast.conf")
		h.Must(t, "systemctl", "daemon-reload")
	})

	t.Run("Without KMS", func(t *testing.T) {
		h.Must(t, "systemctl", "stop", unit)
		if what, err := h.Run("findmnt", "/run/certs"); err == nil {
			t.Errorf("still mounted: %s", what)
		}
		address := h.Lab.Endpoint
		h.Lab.KillEmulator()
		h.Start(t, unit)
		if got := h.Must(t, "ls", "/run/certs"); got != "name-of-a-file\n" {
			t.Errorf("lists %q", got)
		}
		if err := h.Lab.StartEmulator(address); err != nil {
			t.Fatal(err)
		}
		if got := h.Must(t, "cat", "/run/certs/name-of-a-file"); got != "the secret" {
			t.Errorf("reads %q", got)
		}
		h.Must(t, "systemctl", "stop", unit)
	})
}

// A service that mounts by itself refuses what would make its mount invisible
// to everybody else.
func TestServiceRefusesAMountNobodySees(t *testing.T) {
	h := harness.BootKmsfs(t)
	h.Must(t, "mkdir", "-p", "/srv/certs", "/srv/mnt")
	start := "/usr/bin/kmsfs mount --foreground -o " + h.Options(harness.CredentialsOption) + " /srv/certs /srv/mnt"
	for _, directive := range []string{
		"PrivateTmp=yes", "ProtectSystem=full", "ProtectSystem=strict", "ProtectHome=yes", "ProtectKernelTunables=yes", "ProtectKernelModules=yes",
		"ProtectKernelLogs=yes", "ProtectControlGroups=yes", "ProtectProc=invisible", "ProcSubset=pid", "PrivateMounts=yes", "ReadOnlyPaths=/etc",
	} {
		h.Unit(t, "own.service", "[Service]\nType=notify\nExecStart="+start+"\n"+directive+"\n")
		h.Fails(t, "systemctl", "start", "own.service")
		if log := h.Journal(t, "own.service"); !strings.Contains(log, "nobody else would see the mount") || !strings.Contains(log, "hint: remove ") {
			t.Errorf("%s: the journal says\n%s", directive, log)
		}
		h.Must(t, "sh", "-c", "journalctl --rotate && journalctl --vacuum-time=1s && systemctl reset-failed own.service")
	}
	h.Unit(t, "own.service", "[Service]\nType=notify\nExecStart="+start+"\n")
	h.Start(t, "own.service")
	h.Must(t, "findmnt", "--types=fuse.kmsfs", "/srv/mnt")
	h.Must(t, "systemctl", "stop", "own.service")
}

// systemd has nothing to say against the units.
func TestUnitsPassSystemdsChecks(t *testing.T) {
	h := harness.BootKmsfs(t)
	units, err := filepath.Glob(harness.Repository("packaging/systemd/*"))
	if err != nil || len(units) == 0 {
		t.Fatal(err)
	}
	for _, path := range units {
		instance := strings.Replace(filepath.Base(path), "@.", "@srv-certs.", 1)
		if out := h.Must(t, "systemd-analyze", "verify", "--man=no", "/usr/lib/systemd/system/"+instance); out != "" {
			t.Errorf("%s: %s", instance, out)
		}
		if strings.Contains(harness.Read(t, path), "kmsfs mount") {
			out, err := h.Run("systemd-analyze", "security", "--no-pager", "--offline=yes", "--threshold=20", "/usr/lib/systemd/system/"+filepath.Base(path))
			level := out[strings.LastIndex(out, "Overall"):]
			t.Log(level)
			if err != nil {
				t.Errorf("%s: %s", instance, out)
			}
		}
	}
}
