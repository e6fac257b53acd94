package credentials

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/kmsfs/kmsfs/fs/trusted"
	"github.com/kmsfs/kmsfs/kms/aliyun/cloudtest"
)

// command makes a profile of mode External that runs a shell script.
func command(t *testing.T, script string) (dir, path string) {
	t.Helper()
	dir = t.TempDir()
	program := filepath.Join(dir, "get credentials")
	if err := os.WriteFile(program, []byte("#!/bin/sh\n"+script), 0o700); err != nil {
		t.Fatal(err)
	}
	path = filepath.Join(dir, "config.json")
	text := config("x", map[string]any{"name": "x", "mode": "External", "process_command": fmt.Sprintf("%q %s 'two words'", program, dir)})
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return dir, path
}

// Without credential_process=allow the command does not run; with it, it runs
// with a clean environment, and the file it is named in stays as it is.
func TestExternal(t *testing.T) {
	expires := time.Now().Add(time.Hour).UTC().Format("2006-01-02T15:04:05Z")
	dir, path := command(t, `env > "$1/env"; pwd >> "$1/env"; printf '%s' "$2" > "$1/arg"
printf '{"mode":"StsToken","access_key_id":"`+accessKey+`","access_key_secret":"`+secretKey+`","sts_token":"`+token+`","expiration":"`+expires+`"}'`)
	t.Setenv("KMSFS_CANARY", "canary")
	before, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	o := Options{File: path, Getenv: environ(map[string]string{"HOME": dir, "X": "canary", envKeyID: accessKey, envSecret: secretKey})}
	_, err = Find(o)
	if !errors.Is(err, ErrProcessRefused) {
		t.Fatalf("not allowed: %v", err)
	}
	cloudtest.Clean(t, "not allowed", err)
	o.AllowProcess = true
	s, err := Find(o)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(dir + "/env"); err == nil {
		t.Fatal("it has run already")
	}
	c, err := s.Retrieve(context.Background())
	if err != nil || c != (AccessKey{accessKey, secretKey, token}) {
		t.Fatalf("%v", err)
	}
	if left := time.Until(s.held.expires); left < 59*time.Minute || left > time.Hour {
		t.Errorf("%v left", left)
	}
	env, err := os.ReadFile(dir + "/env")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(env)) {
		name, _, _ := strings.Cut(strings.TrimSpace(line), "=")
		switch name {
		case "PATH", "HOME", "LANG", "PWD", "SHLVL", "_", "OLDPWD", "/": // the last ones are the shell's
		default:
			t.Errorf("its environment has %s", line)
		}
	}
	if arg, _ := os.ReadFile(dir + "/arg"); string(arg) != "two words" {
		t.Errorf("argument %q", arg)
	}
	after, err := os.Stat(path)
	if err != nil || !os.SameFile(before, after) || after.ModTime() != before.ModTime() || after.Mode() != before.Mode() {
		t.Errorf("the file was touched: %v", err)
	}
	// One that others may write is not run.
	if err := os.Chmod(dir+"/get credentials", 0o777); err != nil {
		t.Fatal(err)
	}
	if _, err := Find(o); !errors.Is(err, trusted.ErrUnsafe) {
		t.Errorf("a command that others may write: %v", err)
	}
}

// Whatever a command does instead of printing credentials, kmsfs says so in its
// own words, and in time.
func TestExternalFails(t *testing.T) {
	for name, tt := range map[string]struct{ script, says string }{
		"exit code":      {"echo canary; echo canary >&2; exit 3", "exit code 3"},
		"not JSON":       {"echo canary", "something else"},
		"nothing":        {"", "something else"},
		"half":           {`echo '{"access_key_id":"` + accessKey + `"}'`, "access key secret is not set"},
		"odd date":       {`echo '{"access_key_id":"a","access_key_secret":"b","expiration":"canary"}'`, "malformed expiration"},
		"expired":        {`echo '{"access_key_id":"a","access_key_secret":"b","expiration":"2001-01-01T00:00:00Z"}'`, "expired already"},
		"without end":    {"exec yes canary", "printed too much"},
		"leaves a child": {`sleep 60 & echo $! > "$1/pid"; echo '{}'`, "keeps its output open"},
	} {
		dir, path := command(t, tt.script)
		s, err := Find(Options{File: path, AllowProcess: true, Getenv: environ(nil)})
		if err != nil {
			t.Fatal(err)
		}
		begun := time.Now()
		_, err = s.Retrieve(context.Background())
		cloudtest.Clean(t, name, err)
		if err == nil || !strings.Contains(err.Error(), tt.says) || time.Since(begun) > 5*time.Second {
			t.Errorf("%s: %v after %v", name, err, time.Since(begun))
		}
		if pid, err := os.ReadFile(dir + "/pid"); err == nil {
			var n int
			fmt.Sscan(string(pid), &n)
			syscall.Kill(n, syscall.SIGKILL)
		}
	}
	for name, command := range map[string]string{"relative": "get canaries", "empty": "", "open quote": "/bin/sh 'canary", "missing": "/nonexistent/x", "a directory": "/bin/"} {
		path := filepath.Join(t.TempDir(), "config.json")
		text := config("x", map[string]any{"name": "x", "mode": "External", "process_command": command})
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := Find(Options{File: path, AllowProcess: true, Getenv: environ(nil)})
		cloudtest.Clean(t, name, err)
	}
}
