package main

import (
	"bytes"
	"context"
	"strings"
	"testing"

	"github.com/kmsfs/kmsfs/cmd/kmsfs/options"
)

// A flag and its -o key are one option.
func TestFlagsAreOptions(t *testing.T) {
	p := &program{name: "kmsfs", getenv: func(string) string { return "" }, stdout: &bytes.Buffer{}, stderr: &bytes.Buffer{}}
	cmd := mountCommand(p)
	for _, o := range options.Table {
		f := cmd.Flags().Lookup(strings.ReplaceAll(o.Key, "_", "-"))
		if f == nil || !strings.Contains(f.Usage, o.Help) {
			t.Errorf("%s has no flag", o.Key)
		}
	}
	help := cmd.UsageString()
	for _, o := range options.Table {
		if !strings.Contains(help, "--"+strings.ReplaceAll(o.Key, "_", "-")) {
			t.Errorf("%s is not in the help", o.Key)
		}
	}
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
