package main

import (
	"fmt"
	"path/filepath"
	"strings"
	"time"
)

func (d *demo) path(name string) string { return filepath.Join(d.dir, name) }

// say prints the line of a step, and what it has to show, indented.
func (d *demo) say(name, done string, took time.Duration) {
	d.at++
	line, shown, more := strings.Cut(strings.TrimRight(done, "\n"), "\n")
	var b strings.Builder
	fmt.Fprintf(&b, "step %2d/%d  %-11s  %-70s %6d ms\n", d.at, len(steps)+1, name, line, took.Milliseconds())
	if more {
		for l := range strings.SplitSeq(shown, "\n") {
			fmt.Fprintf(&b, "                %s\n", l)
		}
	}
	fmt.Fprint(d.out, b.String())
}

func (d *demo) invite() {
	fmt.Fprintf(d.out, `
Mounted until Ctrl-C. From another terminal, for example:
  ls -l %[1]s/mnt
  openssl pkey -in %[1]s/mnt/key.pem -noout -text_pub
  curl --cacert %[1]s/cert.pem https://127.0.0.1:%[2]d/
  cat %[1]s/kmsfs.log
`, d.dir, d.port)
}

func (d *demo) summary() {
	fmt.Fprintf(d.out, `
The private key was, in plaintext, in
  the memory of openssl, which generated, checked and used it
  the pipe from openssl to kmsfs encrypt, and the memory of kmsfs encrypt
  the memory of the emulator, as it would be in that of the real service
  the memory of kmsfs mount: locked, kept out of core dumps, wiped
  the memory of nginx, and for the search that of this program: locked, wiped
and in none of the %d files that were below %s:
  searched %d bytes, not found; the same search found it through the mount.

Not covered: openssl and nginx do not lock their memory, so that a system with
unencrypted swap may swap it out. The emulator's state file held the material
of the master key unprotected; guarding that is what a real service is for.
`, d.searched.files, d.dir, d.searched.bytes)
}
