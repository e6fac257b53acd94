package main

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/kmsfs/kmsfs/cmd/kmsfs/ciphertexts"
	"github.com/kmsfs/kmsfs/cmd/kmsfs/ui"
)

// program is what a run of kmsfs has to do with the outside world.
type program struct {
	name   string // argv[0] without its directory
	args   []string
	stdin  io.Reader
	stdout io.Writer
	stderr io.Writer
	getenv func(string) string
	again  func() error // becomes the program anew, with what it was started with; nil: it cannot
}

func system() *program {
	name := "kmsfs"
	if len(os.Args) > 0 {
		name = filepath.Base(os.Args[0])
	}
	return &program{name, os.Args[min(1, len(os.Args)):], os.Stdin, os.Stdout, os.Stderr, os.Getenv, again}
}

// streams are those of a command about ciphertexts.
func (p *program) streams() ciphertexts.Streams {
	return ciphertexts.Streams{In: p.stdin, Out: p.stdout, Err: p.stderr, Progress: ui.ShowsProgress(p.stderr, p.getenv)}
}

func again() error { return syscall.Exec("/proc/self/exe", os.Args, os.Environ()) }

func (p *program) warn(text string) { ui.Warn(p.stderr, text) }

// run executes one command line and returns the exit code. Errors are printed
// here and nowhere else.
func run(ctx context.Context, p *program) int {
	codes := ui.VerbCodes
	args := p.args
	if p.calledByMount() {
		// mount(8)'s helper protocol: SRC MNT [-sfnv] -o OPTIONS.
		codes = ui.MountCodes
		args = append([]string{helperVerb}, args...)
	}
	root := newRoot(p)
	root.SetArgs(args)
	root.SetIn(p.stdin)
	root.SetOut(p.stdout)
	root.SetErr(p.stderr)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return 0
	}
	return ui.Report(p.stderr, err, codes)
}

// calledByMount recognises the names under which mount(8) starts its helpers,
// and the bare form that mount.fuse3 uses: kmsfs SRC MNT -o …
func (p *program) calledByMount() bool {
	if p.name == "mount.kmsfs" || p.name == "mount.fuse.kmsfs" {
		return true
	}
	options := func(arg string) bool { return strings.HasPrefix(arg, "-o") }
	if len(p.args) < 3 || p.args[0] == "" || p.args[0][0] == '-' || !slices.ContainsFunc(p.args[2:], options) {
		return false
	}
	switch p.args[0] {
	case "help", "completion", cobra.ShellCompRequestCmd, cobra.ShellCompNoDescRequestCmd:
		return false
	}
	return !slices.ContainsFunc(newRoot(p).Commands(), func(c *cobra.Command) bool { return c.Name() == p.args[0] })
}

func newRoot(p *program) *cobra.Command {
	root := &cobra.Command{
		Use:   "kmsfs",
		Short: "Serve secrets from ciphertext, decrypted through Alibaba Cloud KMS",
		Long: `kmsfs mounts a directory of *.cipher files and serves their plaintext. Each
file is decrypted through Alibaba Cloud KMS when a program opens it, and kept
in locked memory for a short time. Plaintext never touches the disk.

A first walk, with credentials in ALIBABA_CLOUD_ACCESS_KEY_ID and
ALIBABA_CLOUD_ACCESS_KEY_SECRET and the region in ALIBABA_CLOUD_REGION_ID:

  kmsfs create-key                                   make a key (CMK)
  kmsfs create-alias alias/Apollo/WorkKey KEYID      give it a name
  kmsfs encrypt --key alias/Apollo/WorkKey key.pem   write key.pem.cipher
  kmsfs mount certs /run/certs                       serve certs/*.cipher
  cat /run/certs/key.pem
  kmsfs umount /run/certs`,
		SilenceUsage:  true,
		SilenceErrors: true,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 0 {
				return ui.Usagef("run %s: unknown command", ui.Quote(args[0])).Hint("kmsfs --help lists the commands")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return ui.AsUsage(err, strings.Replace(cmd.CommandPath(), helperVerb, "mount", 1)+" --help lists the options")
	})
	root.AddCommand(
		mountCommand(p), umountCommand(p), helperCommand(p),
		statusCommand(p), flushCommand(p), reloadCommand(p),
		encryptCommand(p), decryptCommand(p), verifyCommand(p),
		versionCommand(p), manCommand(p), premountCommand(p), serviceCommand(p), closerCommand(),
	)
	root.AddCommand(keyCommands(p)...)
	root.CompletionOptions.HiddenDefaultCmd = true
	return root
}
