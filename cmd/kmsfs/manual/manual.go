// Package manual writes the manual pages. They are made from what --help says and
// from the table of options, so they cannot say anything else.
package manual

import (
	"io"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/kmsfs/kmsfs/cmd/kmsfs/options"
)

// The pages.
const (
	Program = "kmsfs.1"
	Helper  = "mount.kmsfs.8"
)

// WriteProgram writes the page of the program, whose commands root has.
func WriteProgram(w io.Writer, root *cobra.Command, version string) {
	r := roff{w, version}
	r.title("kmsfs", "1", "serve secrets from ciphertext, decrypted through Alibaba Cloud KMS")
	r.line(".SH SYNOPSIS")
	for i, c := range shown(root) {
		if i > 0 {
			r.line(".br")
		}
		r.line(`\fBkmsfs %s\fR`, escape(c.Use))
	}
	r.line(".SH DESCRIPTION")
	r.text(root.Long)
	r.line(".SH COMMANDS")
	for _, c := range shown(root) {
		r.line(".SS %s", escape(c.Use))
		if c.Long != "" {
			r.text(c.Long)
		} else {
			r.text(c.Short + ".")
		}
		c.LocalFlags().VisitAll(func(f *pflag.Flag) {
			if f.Name != "help" && !inTable(f.Name) {
				r.flag(f)
			}
		})
		if c.Example != "" {
			r.line(".PP\nExamples:")
			r.text(c.Example)
		}
	}
	r.line(".SH OPTIONS")
	r.text("Each is a key of -o, and with dashes for underscores a flag: -o cache_size=1MiB is --cache-size 1MiB.\n" +
		"The commands that only speak to the service take those that say how; their --help lists them.")
	r.options()
	r.line(".SH FILES")
	for _, f := range [][2]string{
		{"/etc/kmsfs/NAME.env", "What kmsfs@NAME.service serves: SRC=, MNT= and OPTIONS=, the last as for -o."},
		{"/etc/credstore/kmsfs.NAME", "Credentials of that service: a config.json of the aliyun command, or an ini file."},
	} {
		r.line(".TP\n.I %s\n%s", escape(f[0]), escape(f[1]))
	}
	r.line(".SH EXIT STATUS")
	r.text("0, or 1 after a failure, or 2 when the command line is wrong.")
	r.line(".SH SEE ALSO\n.BR mount.kmsfs (8),\n.BR systemd.mount (5),\n.BR fusermount3 (1)")
}

// WriteHelper writes the page of the helper of mount(8).
func WriteHelper(w io.Writer, version string) {
	r := roff{w, version}
	r.title("mount.kmsfs", "8", "mount a directory of *.cipher files with mount(8)")
	r.line(".SH SYNOPSIS\n\\fBmount \\-t kmsfs\\fR [\\fB\\-o\\fR \\fIOPTIONS\\fR] \\fISRC\\fR \\fIMNT\\fR")
	r.line(".SH DESCRIPTION")
	r.text(`mount(8) starts this helper for file systems of the type kmsfs or fuse.kmsfs,
from a command line, from /etc/fstab, or from a systemd.mount(5) unit. It
returns when the mount answers and leaves a process that serves it. The
directory SRC appears at MNT: a file NAME.cipher as NAME, with its plaintext.
The mount is read-only and needs no network: the key service is called when a
file is opened.

mount(8) leaves no HOME: name a file with credentials by its absolute path.
Only the options say where the service is.`)
	r.line(".SH OPTIONS")
	r.text(`Those of mount(8) that say what holds anyway are accepted: the mount is always
ro,nosuid,nodev,noexec. So are mount -f, -n, -s, -v and -N. remount is refused, and
so is a second mount in the same place; a mount whose processes have died is
replaced.`)
	r.options()
	r.line(".SH EXIT STATUS")
	r.text("That of mount(8): 0, 1 when the command line is wrong, 2 when the system gave no process or pipe, 32 when mounting failed.")
	r.line(".SH EXAMPLE\nA line of /etc/fstab:")
	r.text("  /etc/nginx/certs  /run/certs  kmsfs  _netdev,nofail,region=cn-hangzhou  0  0")
	r.line(".SH SEE ALSO\n.BR kmsfs (1),\n.BR mount (8),\n.BR fstab (5),\n.BR systemd.mount (5)")
}

// options sets the table of options.
func (r roff) options() {
	for _, o := range options.Table {
		value, help := "", o.Help
		if o.Value != "" {
			value = `=\fI` + escape(o.Value) + `\fR`
		}
		switch {
		case o.Key == "uid" || o.Key == "gid":
			help += " (default: the mounting user's)"
		case o.Default != "":
			help += " (default " + o.Default + ")"
		}
		r.line(".TP\n\\fB%s\\fR%s\n%s", escape(o.Key), value, escape(help))
	}
}

func (r roff) flag(f *pflag.Flag) {
	short, value := "", ""
	if f.Shorthand != "" {
		short = `\fB\-` + f.Shorthand + `\fR, `
	}
	if f.Value.Type() != "bool" {
		value = ` \fI` + escape(f.Value.Type()) + `\fR`
	}
	r.line(".TP\n%s\\fB%s\\fR%s\n%s", short, escape("--"+f.Name), value, escape(f.Usage))
}

// shown are the commands that the help lists.
func shown(root *cobra.Command) []*cobra.Command {
	var list []*cobra.Command
	for _, c := range root.Commands() {
		if c.IsAvailableCommand() && c.Name() != "help" {
			list = append(list, c)
		}
	}
	return list
}

func inTable(flag string) bool {
	for _, o := range options.Table {
		if o.Key == strings.ReplaceAll(flag, "-", "_") {
			return true
		}
	}
	return false
}
