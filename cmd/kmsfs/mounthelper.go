package main

import (
	"fmt"
	"os"
	"runtime"
	"slices"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/kmsfs/kmsfs/cmd/kmsfs/options"
	"github.com/kmsfs/kmsfs/cmd/kmsfs/ui"
)

// helperVerb is how run names the helper protocol of mount(8) to itself.
const helperVerb = "mount-helper"

// helperCommand is mount as mount(8) and mount.fuse3 call it: the same
// options, all of them in -o, and mount(8)'s own single letters.
func helperCommand(p *program) *cobra.Command {
	s, err := options.Defaults()
	var fake, sloppy, noMtab, verbose bool
	var lists []string
	var namespace, fstype string
	cmd := &cobra.Command{
		Use: helperVerb + " SRC MNT", Hidden: true, Args: exactly("SRC", "MNT"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err != nil {
				return err
			}
			if namespace != "" {
				return p.enter(namespace)
			}
			s.Sloppy = sloppy
			for _, list := range lists {
				if err := s.SetList(list); err != nil {
					return err
				}
			}
			foreground := fake && p.name == "kmsfs"
			if fake && !foreground {
				return nil // mount -f: everything but the mount
			}
			m := &mounting{p: p, Settings: s, source: args[0], point: args[1], foreground: foreground}
			return m.run(cmd.Context())
		},
	}
	s.FromEnvironment(p.getenv, true)
	flags := cmd.Flags()
	flags.StringArrayVarP(&lists, "options", "o", nil, "")
	flags.BoolVarP(&fake, "fake", "f", false, "")
	flags.BoolVarP(&sloppy, "sloppy", "s", false, "")
	flags.BoolVarP(&noMtab, "no-mtab", "n", false, "")
	flags.BoolVarP(&verbose, "verbose", "v", false, "")
	flags.StringVarP(&namespace, "namespace", "N", "", "")
	flags.StringVarP(&fstype, "type", "t", "", "")
	return cmd
}

// enter starts this command line again in another mount namespace (mount -N),
// where its paths mean something else. A thread that shares its working
// directory with others may not go there, so this one stops sharing first.
func (p *program) enter(namespace string) error {
	fail := func(err error) error {
		return ui.Failf("enter mount namespace %s: %w", ui.Quote(namespace), ui.Cause(err))
	}
	ns, err := os.Open(namespace)
	if err != nil {
		return fail(err)
	}
	defer ns.Close()
	i := slices.Index(p.args, "-N")
	if i < 0 || i+1 >= len(p.args) {
		return ui.Usagef("read command line: -N needs a word of its own")
	}
	args := slices.Delete(slices.Clone(p.args), i, i+2)
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := unix.Unshare(unix.CLONE_FS); err != nil {
		return fail(err)
	}
	if err := unix.Setns(int(ns.Fd()), unix.CLONE_NEWNS); err != nil {
		return fail(err)
	}
	return fail(fmt.Errorf("start again: %w", unix.Exec("/proc/self/exe", append([]string{p.name}, args...), os.Environ())))
}
