package main

import (
	"bytes"
	"context"
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/kmsfs/kmsfs/kms"
	"github.com/kmsfs/kmsfs/kms/aliyun"
)

// maxOptions is the budget: another option has to replace one.
const maxOptions = 35

func TestOptionTable(t *testing.T) {
	if len(options) > maxOptions {
		t.Errorf("%d options, at most %d are affordable", len(options), maxOptions)
	}
	seen := map[string]bool{}
	for _, o := range options {
		if seen[o.key] {
			t.Errorf("%s is there twice", o.key)
		}
		seen[o.key] = true
		if strings.ContainsAny(o.key, "-, ") || o.help == "" || strings.HasSuffix(o.help, ".") {
			t.Errorf("%s: %q", o.key, o.help)
		}
	}
	s, err := defaults()
	if err != nil {
		t.Fatal(err)
	}
	if s.ttl != time.Minute || s.refresh != 15*time.Second || s.stale != 0 || s.timeout != 10*time.Second || s.cacheSize != 64<<20 || s.fileMode != 0o400 || s.dirMode != 0o500 || int(s.uid) != os.Geteuid() || s.fast {
		t.Errorf("defaults: %+v", s)
	}
}

func TestSetList(t *testing.T) {
	s, err := defaults()
	if err != nil {
		t.Fatal(err)
	}
	err = s.setList("rw,nosuid,x-systemd.automount,ttl=5m,,cache_size=128K,file_mode=0440,vpc,allow_other=true,allow_other=false,endpoint=h:1,ttl=7m")
	if err != nil {
		t.Fatal(err)
	}
	if s.ttl != 7*time.Minute || s.cacheSize != 128<<10 || s.fileMode != 0o440 || !s.vpc || s.allowOther || s.endpoint != "h:1" {
		t.Errorf("%+v", s)
	}
	for _, bad := range []string{"frob", "ttl", "ttl=", "ttl=0s", "ttl=25h", "ttl=x", "=x", "refresh=on", "refresh=-1s", "stale=25h", "stale", "cache_size=1", "cache_size=9999999G", "cache_size=-1", "cache_size=1TiB", "file_mode=1000",
		"file_mode=rw", "uid=-1", "uid=4294967295", "uid=nobody-at-all", "gid=no group", "remount=1", "vpc=maybe", "plain=maybe", "open=quick", "region=", "region=a\nb", "region=a\x7f", "TTL=5s"} {
		var f *failure
		if err := s.setList(bad); !errors.As(err, &f) || f.class != misused {
			t.Errorf("%q: %v, want a usage error", bad, err)
		}
	}
}

func TestOwners(t *testing.T) {
	s := &settings{}
	if err := s.setList("uid=root,gid=daemon,user=alice"); err != nil || s.uid != 0 || s.gid != 1 {
		t.Errorf("%d %d, %v", s.uid, s.gid, err)
	}
	if err := s.setList("uid=65534,gid=4294967294"); err != nil || s.uid != 65534 || s.gid != 4294967294 {
		t.Errorf("%d %d, %v", s.uid, s.gid, err)
	}
	s.sloppy = true
	if err := s.setList("frob,uid=0,knob=1"); err != nil || s.uid != 0 {
		t.Errorf("sloppy: %d, %v", s.uid, err)
	}
	var f *failure
	if err := s.setList("remount,rw"); !errors.As(err, &f) || f.class != ordinary {
		t.Errorf("remount: %v", err)
	}
}

// A flag and its -o key are one option.
func TestFlagsAreOptions(t *testing.T) {
	p := &program{name: "kmsfs", getenv: func(string) string { return "" }, stdout: &bytes.Buffer{}, stderr: &bytes.Buffer{}}
	cmd := mountCommand(p)
	for _, o := range options {
		f := cmd.Flags().Lookup(strings.ReplaceAll(o.key, "_", "-"))
		if f == nil || !strings.Contains(f.Usage, o.help) {
			t.Errorf("%s has no flag", o.key)
		}
	}
	help := cmd.UsageString()
	for _, o := range options {
		if !strings.Contains(help, "--"+strings.ReplaceAll(o.key, "_", "-")) {
			t.Errorf("%s is not in the help", o.key)
		}
	}
}

func FuzzSetList(f *testing.F) {
	f.Add("ttl=5m,vpc,cache_size=64MiB")
	f.Fuzz(func(t *testing.T, list string) {
		s, err := defaults()
		if err != nil {
			t.Fatal(err)
		}
		if s.setList(list) == nil && (s.ttl < time.Second || s.cacheSize < 64<<10 || s.fileMode > 0o777 || strings.ContainsAny(s.endpoint+s.region, "\n\x00,")) {
			t.Fatalf("%q gives %+v", list, s)
		}
	})
}

func TestRunReports(t *testing.T) {
	run := func(name string, args ...string) (int, string) {
		var stderr bytes.Buffer
		p := &program{name: name, args: args, getenv: func(string) string { return "" }, stdin: strings.NewReader(""), stdout: &bytes.Buffer{}, stderr: &stderr}
		return run(context.Background(), p), stderr.String()
	}
	for _, c := range []struct {
		name string
		args string
		code int
		want string
	}{
		{"kmsfs", "frobnicate", 2, "kmsfs: run \"frobnicate\": unknown command\nhint: kmsfs --help lists the commands\n"},
		{"kmsfs", "version extra", 2, "kmsfs: read command line: unexpected \"extra\"\nhint: usage: kmsfs version"},
		{"kmsfs", "mount -o ttl=0 /src /mnt", 2, "kmsfs: read option ttl: 0 is not between 1s and 24h0m0s\nhint: kmsfs mount --help lists the options\n"},
		{"kmsfs", "mount --open=quick /src /mnt", 2, "kmsfs: read option open: \"quick\" is neither fast nor checked\nhint: kmsfs mount --help lists the options\n"},
		{"kmsfs", "decrypt /nowhere", 1, "kmsfs: decrypt \"/nowhere\": no such file or directory\n"},
		{"mount.kmsfs", "/src", 1, "kmsfs: read command line: MNT is missing\n"},
		{"mount.kmsfs", "/nowhere /mnt", 32, "kmsfs: open source: \"/nowhere\": no such file or directory\n"},
	} {
		code, stderr := run(c.name, strings.Fields(c.args)...)
		if code != c.code || !strings.HasPrefix(stderr, c.want) {
			t.Errorf("%s %s: %d %q; want %d %q", c.name, c.args, code, stderr, c.code, c.want)
		}
	}
}

// Every class of error that a user can do something about has a hint.
func TestHints(t *testing.T) {
	for _, err := range []error{aliyun.ErrNoCredentials, aliyun.ErrHalfCredentials, aliyun.ErrTestOnlyCA, aliyun.ErrUnsafeEnvironment, aliyun.ErrBadRegion, aliyun.ErrBadEndpoint, aliyun.ErrNoProfile,
		aliyun.ErrBadProfile, aliyun.ErrBadSource, aliyun.ErrUnsafeFile, aliyun.ErrProcessRefused, aliyun.ErrUnsupportedMode,
		kms.ErrAuthentication, kms.ErrDenied, kms.ErrKeyState, kms.ErrBadCiphertext, kms.ErrTransient} {
		if hintFor(err) == "" {
			t.Errorf("%v has no hint", err)
		}
	}
}

func TestOneLine(t *testing.T) {
	for in, want := range map[string]string{"plain": "plain", "a\nb\x1b[0m": `a\x0ab\x1b[0m`, "c1\u009b": "c1?", "bidi\u202e": "bidi?", "é": "é"} {
		if got := oneLine(in); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}
