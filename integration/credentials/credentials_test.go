package credentials_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/kmsfs/kmsfs/integration/harness"
	"github.com/kmsfs/kmsfs/integration/lab"
)

// noCredentials takes all that names credentials out of the lab's environment.
func noCredentials(l *lab.Lab, more map[string]string) []string {
	change := map[string]string{"ALIBABA_CLOUD_ACCESS_KEY_ID": "", "ALIBABA_CLOUD_ACCESS_KEY_SECRET": ""}
	for k, v := range more {
		change[k] = v
	}
	return harness.WithEnv(l.Env(), change)
}

// Credentials come from a file that an option names: from either kind of file,
// by profile, and under mount(8), which leaves no HOME. The file stays as it
// is, and says nothing of itself in the log.
func TestCredentialsComeFromANamedFile(t *testing.T) {
	l := harness.NewLab(t)
	id, secret := harness.AccessKey(l)
	source, dir := t.TempDir(), t.TempDir()
	harness.Put(t, source+"/a.cipher", harness.Seal(t, l, "by a file"))
	config, ini := dir+"/config.json", dir+"/credentials"
	harness.Put(t, config, harness.ConfigJSON(t,
		map[string]string{"name": "wrong", "mode": "AK", "access_key_id": "LTAIwrong", "access_key_secret": "wrong"},
		map[string]string{"name": "right", "mode": "ak", "access_key_id": id, "access_key_secret": secret}))
	harness.Put(t, ini, "[default]\ntype = access_key\naccess_key_id = "+id+"\naccess_key_secret = "+secret+"\n")
	before, err := os.Stat(config)
	if err != nil {
		t.Fatal(err)
	}
	content := harness.Read(t, config)
	for name, tt := range map[string]struct {
		options string
		env     map[string]string
		denied  bool
	}{
		"config.json":         {"profile=right,credentials_file=" + config, nil, false},
		"its current profile": {"credentials_file=" + config, nil, true},
		"profile by variable": {"credentials_file=" + config, map[string]string{"ALIBABA_CLOUD_PROFILE": "right"}, false},
		"ini":                 {"credentials_file=" + ini, nil, false},
		"option over key":     {"credentials_file=" + config, map[string]string{"ALIBABA_CLOUD_ACCESS_KEY_ID": id, "ALIBABA_CLOUD_ACCESS_KEY_SECRET": secret}, true},
	} {
		mnt, log, o := harness.TryMount(t, l, noCredentials(l, tt.env), source, tt.options)
		if o.Code != 0 {
			t.Errorf("%s: %s", name, o.Stderr)
			continue
		}
		got, err := os.ReadFile(mnt + "/a")
		if tt.denied && err == nil || !tt.denied && (err != nil || string(got) != "by a file") {
			t.Errorf("%s: %q, %v\n%s", name, got, err, harness.Read(t, log))
		}
		if strings.Contains(harness.Read(t, log)+o.Stderr, secret) {
			t.Errorf("%s: the secret is in the log", name)
		}
	}
	helper := filepath.Join(t.TempDir(), "mount.kmsfs")
	if err := os.Symlink(filepath.Join(harness.BinDir, "kmsfs"), helper); err != nil {
		t.Fatal(err)
	}
	mnt := t.TempDir()
	cmd := exec.Command(helper, source, mnt, "-o", "rw,allow_emulator,log_file="+dir+"/log,profile=right,credentials_file="+config+
		",region="+lab.Region+",endpoint="+l.Endpoint+",ca_file="+l.CAFile)
	cmd.Env = []string{"ALIBABA_CLOUD_ECS_METADATA_DISABLED=true"}
	if o := harness.RunCommand(t, cmd); o.Code != 0 || harness.Read(t, mnt+"/a") != "by a file" {
		t.Errorf("under mount(8): exit code %d\n%s", o.Code, o.Stderr)
	}
	if o := harness.RunCommand(t, l.Command("umount", mnt)); o.Code != 0 {
		t.Errorf("umount: %s", o.Stderr)
	}
	harness.WaitGone(t, mnt)
	after, err := os.Stat(config)
	if err != nil || !os.SameFile(before, after) || before.Mode() != after.Mode() || before.ModTime() != after.ModTime() || harness.Read(t, config) != content {
		t.Errorf("the file was touched: %v", err)
	}
}

// What would let others choose who we are is refused with a reason and a hint,
// and nothing is mounted; a file that others can read is one warning.
func TestUnsafeCredentialsAreRefused(t *testing.T) {
	l := harness.NewLab(t)
	id, secret := harness.AccessKey(l)
	source := t.TempDir()
	harness.Put(t, source+"/a.cipher", harness.Seal(t, l, "x"))
	type m = map[string]string
	ak := m{"name": "p", "mode": "AK", "access_key_id": id, "access_key_secret": secret}
	ran := filepath.Join(t.TempDir(), "ran")
	script := filepath.Join(t.TempDir(), "get")
	if err := os.WriteFile(script, []byte("#!/bin/sh\n/usr/bin/env > "+ran+"\necho '{\"access_key_id\":\""+id+"\",\"access_key_secret\":\""+secret+"\"}'\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	process := m{"name": "p", "mode": "External", "process_command": script}
	for name, tt := range map[string]struct {
		content string
		mode    os.FileMode
		options string
		says    string // empty: it mounts
		hint    bool
	}{
		"as it should be":      {harness.ConfigJSON(t, ak), 0o600, "", "", false},
		"readable":             {harness.ConfigJSON(t, ak), 0o644, "", "", false},
		"writable":             {harness.ConfigJSON(t, ak), 0o666, "", "can be written by others", true},
		"broken":               {harness.ConfigJSON(t, ak)[:60], 0o600, "", "not valid JSON", false},
		"no such profile":      {harness.ConfigJSON(t, ak), 0o600, "profile=q", `no such profile: "q"`, true},
		"role besides":         {harness.ConfigJSON(t, ak), 0o600, "ram_role=web", "ram_role together with", false},
		"a mode for people":    {harness.ConfigJSON(t, m{"name": "p", "mode": "RsaKeyPair"}), 0o600, "", "unsupported mode", true},
		"a command":            {harness.ConfigJSON(t, process), 0o600, "", "not allowed", true},
		"a command, refused":   {harness.ConfigJSON(t, process), 0o600, "credential_process=refuse", "not allowed", true},
		"a command of nobody":  {harness.ConfigJSON(t, m{"name": "p", "mode": "External", "process_command": "sh -c id"}), 0o600, "credential_process=allow", "absolute path", false},
		"a command, allowed":   {harness.ConfigJSON(t, process), 0o600, "credential_process=allow", "", false},
		"an address elsewhere": {harness.ConfigJSON(t, m{"name": "p", "mode": "CredentialsURI", "credentials_uri": "http://192.0.2.1/"}), 0o600, "", "must be https", false},
	} {
		os.Remove(ran)
		path := filepath.Join(t.TempDir(), "config.json")
		harness.Put(t, path, tt.content)
		if err := os.Chmod(path, tt.mode); err != nil {
			t.Fatal(err)
		}
		options := "credentials_file=" + path
		if tt.options != "" {
			options += "," + tt.options
		}
		mnt, log, o := harness.TryMount(t, l, noCredentials(l, m{"KMSFS_TEST_CANARY": "canary"}), source, options)
		if strings.Contains(o.Stderr, secret) {
			t.Errorf("%s: the secret is in %s", name, o.Stderr)
		}
		if tt.says != "" {
			if o.Code != 1 || !strings.Contains(o.Stderr, tt.says) || tt.hint && !strings.Contains(o.Stderr, "\nhint: ") {
				t.Errorf("%s: exit code %d, want 1 and %q:\n%s", name, o.Code, tt.says, o.Stderr)
			}
			if _, err := os.Stat(ran); err == nil {
				t.Errorf("%s: the command ran", name)
			}
			continue
		}
		if o.Code != 0 {
			t.Errorf("%s: exit code %d\n%s", name, o.Code, o.Stderr)
			continue
		}
		if got := harness.Read(t, mnt+"/a"); got != "x" {
			t.Errorf("%s: reads %q", name, got)
		}
		if warned := strings.Count(harness.Read(t, log), "can be read by others"); warned != map[bool]int{true: 1}[tt.mode == 0o644] {
			t.Errorf("%s: %d warnings\n%s", name, warned, harness.Read(t, log))
		}
		if env, err := os.ReadFile(ran); err == nil && strings.Contains(string(env), "canary") {
			t.Errorf("%s: the command saw our environment: %s", name, env)
		}
	}
	for name, env := range map[string]m{"none": nil, "an empty home": {"HOME": t.TempDir()}} {
		if _, _, o := harness.TryMount(t, l, noCredentials(l, env), source, "ttl=1m"); o.Code != 1 || !strings.Contains(o.Stderr, "no credentials") || !strings.Contains(o.Stderr, "\nhint: ") {
			t.Errorf("%s: exit code %d\n%s", name, o.Code, o.Stderr)
		}
	}
}
