package daemon

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/kmsfs/kmsfs/cmd/kmsfs/supervise"
	"github.com/kmsfs/kmsfs/cmd/kmsfs/ui"
	"github.com/kmsfs/kmsfs/fs/session"
	"github.com/kmsfs/kmsfs/kms"
	"github.com/kmsfs/kmsfs/kms/gate"
)

// opener decrypts everything.
type opener struct{}

func (opener) Decrypt(context.Context, kms.Blob, kms.EncryptionContext) (*kms.Decrypted, error) {
	return &kms.Decrypted{}, nil
}

// successorWithout is a daemon whose key service can be connected to when found says so.
func successorWithout(t *testing.T, found func() error, in supervise.Inheritance) (*daemon, *int) {
	t.Helper()
	tries := 0
	d := &daemon{in: in, log: slog.New(slog.DiscardHandler)}
	d.warnings = &warnings{log: d.log}
	d.Config = Config{Point: "/m", Connect: func(*slog.Logger) (*KeyService, error) {
		tries++
		if err := found(); err != nil {
			return nil, err
		}
		return &KeyService{Decrypter: opener{}, Gate: gate.New(opener{}, gate.Config{}), Warnings: []string{"of the connection"}, Close: func() {}}, nil
	}}
	return d, &tries
}

// A successor that finds no credentials serves on, says why opens fail, and tries
// again when a file is opened, not more often than twice a second.
func TestCredentialsMayComeLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		missing := error(ui.Failf("read credentials: %w", os.ErrNotExist).Hint("put them back"))
		d, tries := successorWithout(t, func() error { return missing }, supervise.Inheritance{Line: &session.Lifeline{}})
		decrypter, err := d.connectOrLater()
		if err != nil {
			t.Fatal(err)
		}
		open := func() error { _, err := decrypter.Decrypt(t.Context(), kms.Blob{}, nil); return err }
		for range 10 {
			err := open()
			if e, ok := errors.AsType[*kms.Error](err); !ok || !errors.Is(err, kms.ErrAuthentication) || e.Hint != "put them back" || !strings.Contains(e.Detail, "read credentials: ") {
				t.Errorf("%v", err)
			}
		}
		if *tries != 1 {
			t.Errorf("%d attempts at once", *tries)
		}
		if list := d.warnings.inForce(); len(list) != 1 || !strings.Contains(list[0], "no file can be opened until this is mended: read credentials") {
			t.Errorf("warns of %q", list)
		}
		if d.gate.Load().Stats().Calls != 0 {
			t.Error("calls were made")
		}
		time.Sleep(lateAgain)
		missing = nil
		if err := open(); err != nil || *tries != 2 {
			t.Errorf("%v after %d attempts", err, *tries)
		}
		if list := d.warnings.inForce(); !slices.Equal(list, []string{"of the connection"}) {
			t.Errorf("then it warns of %q", list)
		}
		open()
		if *tries != 2 {
			t.Error("it is connected to again")
		}
		d.close()
	})
}

// The first server of a mount, and one that is only tried, end without them.
func TestCredentialsMustBeThereAtFirst(t *testing.T) {
	for name, in := range map[string]supervise.Inheritance{"first": {}, "tried": {Line: &session.Lifeline{}, Rehearsal: true}} {
		d, _ := successorWithout(t, func() error { return os.ErrNotExist }, in)
		if _, err := d.connectOrLater(); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A successor that cannot open the log file writes to the one that its predecessor
// had open, or to where a mount without that option logs.
func TestLogOfASuccessor(t *testing.T) {
	dir := t.TempDir()
	var said bytes.Buffer
	c, _ := withLog(t, filepath.Join(dir, "gone", "log"))
	c.Stderr = &said
	_, failed := c.openLog(false)
	if failed == nil {
		t.Fatal("it is there")
	}
	d := &daemon{Config: c}
	out, err := d.inheritLog(failed)
	if err != nil || !strings.Contains(out.flaw, "the log goes elsewhere") {
		t.Fatal(out.flaw, err)
	}
	out.Info("here")
	out.end()
	if !strings.Contains(said.String(), "open log_file: ") || !strings.Contains(said.String(), "msg=here") || c.LogFile == "" {
		t.Errorf("%q", &said)
	}
	held, err := os.Create(filepath.Join(dir, "held"))
	if err != nil {
		t.Fatal(err)
	}
	d.in.Log = held
	if out, err = d.inheritLog(failed); err != nil || out.file != held {
		t.Fatal(err)
	}
	out.Info("there")
	out.end()
	if text, err := os.ReadFile(held.Name()); err != nil || !strings.Contains(string(text), "msg=there") || !strings.Contains(string(text), "had open is written to") {
		t.Errorf("%q, %v", text, err)
	}
}

// The units whose settings name a file are found, also in what an admin has added
// to them.
func TestUnitsNaming(t *testing.T) {
	dir := t.TempDir()
	for path, text := range map[string]string{
		"app.service":                "[Service]\nEnvironmentFile=/run/certs/app.env\n",
		"maybe.service":              "[Service]\nEnvironmentFile=-/run/certs/app.env\n",
		"condition.service":          "[Unit]\nConditionPathExists=|!/run/certs/app.env\n",
		"added.service.d/more.conf":  "[Service]\nEnvironmentFile = \"/run/certs/app.env\"\n",
		"other.service":              "[Service]\nEnvironmentFile=/run/certs/app.env.old\n#EnvironmentFile=/run/certs/app.env\n",
		"command.service":            "[Service]\nExecStart=/bin/cat /run/certs/app.env\n",
		"watch.path":                 "[Path]\nPathChanged=/run/certs/app.env\n",
		"nothing.service":            "",
		"multi-user.target.wants/no": "EnvironmentFile=/run/certs/app.enx\n",
	} {
		path = filepath.Join(dir, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got := unitsNaming("/run/certs/app.env", []string{dir, filepath.Join(dir, "none"), dir})
	want := []string{"added.service", "app.service", "command.service", "condition.service", "maybe.service", "watch.path"}
	if !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
	if text := systemdReads("app.env", got[:2]); !strings.HasPrefix(text, `systemd itself reads "app.env" (added.service, app.service), `) {
		t.Error(text)
	}
	if text := systemdReads("app.env", nil); !strings.HasPrefix(text, `systemd itself reads "app.env", `) {
		t.Error(text)
	}
}
