package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
)

var mountedLine = regexp.MustCompile(`(?m)^.* msg=mounted .*\bpid=(\d+)\b.*\n`)

// mount is not interrupted: it takes a moment, and half of it could not be
// undone in order.
func (d *demo) mount(ctx context.Context) (string, error) {
	ctx = context.WithoutCancel(ctx)
	d.later("the mount", d.umount)
	if _, err := output(ctx, d.lab.Command("mount", "-o", "allow_emulator,log_file=kmsfs.log", "certs", "mnt")); err != nil {
		return "", err
	}
	err := until(ctx, "read the process id from kmsfs.log", func() (bool, error) {
		log, err := os.ReadFile(d.path("kmsfs.log"))
		if err != nil {
			return false, err
		}
		m := mountedLine.FindSubmatch(log)
		if m == nil {
			return false, nil
		}
		pid, err := strconv.Atoi(string(m[1]))
		if err == nil {
			d.server, err = openProcess(pid)
		}
		if err == nil {
			d.holder, err = d.server.parent()
		}
		return true, err
	})
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("certs on mnt, kmsfs process %d", d.server.pid), nil
}

// umount runs when nginx has ended. Whoever uses the mount still is a visitor
// who looked around, and loses it.
func (d *demo) umount() error {
	grace := patience
	left, err := mountsBelow(d.dir)
	if err != nil {
		return err
	}
	if len(left) > 0 {
		if err := d.insist("umount", "mnt"); err != nil {
			grace = 0
			if err := d.insist("umount", "--lazy", "mnt"); err != nil {
				return err
			}
		}
	}
	if d.server == nil {
		return nil
	}
	if err := d.server.end(grace); err != nil || d.holder == nil {
		return err
	}
	return d.holder.end(patience)
}

// insist runs kmsfs, again if a signal killed it: see awaitSignal.
func (d *demo) insist(args ...string) error {
	for tries := 5; ; tries-- {
		_, err := output(context.Background(), d.lab.Command(args...))
		exit, ok := errors.AsType[*exec.ExitError](err)
		if !ok || exit.Exited() || tries == 1 {
			return err
		}
	}
}

// mountsBelow lists the mountpoints below a directory, without touching them.
func mountsBelow(dir string) ([]string, error) {
	f, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var found []string
	s := bufio.NewScanner(f)
	for s.Scan() {
		fields := strings.Fields(s.Text())
		if len(fields) < 5 {
			continue
		}
		point := unescape.Replace(fields[4])
		if strings.HasPrefix(point, dir+"/") {
			found = append(found, point)
		}
	}
	return found, s.Err()
}

var unescape = strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`)

// list shows that metadata costs no call.
func (d *demo) list(ctx context.Context) (string, error) {
	shown, err := output(ctx, d.tool("ls", "-l", "mnt"))
	if err != nil {
		return "", err
	}
	calls, err := d.lab.Calls()
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("ls -l mnt, at the cost of %d Decrypt calls\n%s", calls["Decrypt"], shown), nil
}

func (d *demo) check(ctx context.Context) (string, error) {
	shown, err := output(ctx, d.tool("openssl", "pkey", "-in", "mnt/key.pem", "-check", "-noout"))
	if err != nil {
		return "", err
	}
	return "openssl pkey -in mnt/key.pem -check -noout\n" + shown, nil
}

func (d *demo) certificate(ctx context.Context) (string, error) {
	_, err := output(ctx, d.tool("openssl", "req", "-x509", "-new", "-key", "mnt/key.pem", "-subj", "/CN=localhost",
		"-addext", "subjectAltName=IP:127.0.0.1", "-days", "1", "-out", "cert.pem"))
	if err != nil {
		return "", err
	}
	return "openssl req -x509 -new -key mnt/key.pem … -out cert.pem", nil
}
