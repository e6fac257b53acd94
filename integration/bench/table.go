package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// table writes the rows as Markdown: first those that have the others beside
// them, then those that have a measure of their own.
func table(rows []row, where string) string {
	var beside, own strings.Builder
	fmt.Fprintf(&beside, "| | `open=` | kmsfs | ÷ %s | target | |\n|---|---|%s---|---|\n", strings.Join(others, " | ÷ "), strings.Repeat("---|", 1+len(others)))
	fmt.Fprint(&own, "| | `open=` | kmsfs | ratio | target | |\n|---|---|---|---|---|---|\n")
	for _, r := range rows {
		if r.note != "" {
			fmt.Fprintf(&beside, "| %s | %s | %s |%s | |\n", r.what, r.mode, r.note, strings.Repeat(" – |", len(others)))
			continue
		}
		if _, ok := r.against[tmpfs]; ok {
			fmt.Fprintf(&beside, "| %s | %s | %s |", r.what, r.mode, r.value)
			for _, other := range others {
				if v, ok := r.against[other]; ok {
					fmt.Fprintf(&beside, " %s |", times(v))
				} else {
					fmt.Fprint(&beside, " – |")
				}
			}
			fmt.Fprintf(&beside, " %s | %s |\n", r.target(), r.result())
			continue
		}
		var ratios []string
		for other, v := range r.against {
			ratios = append(ratios, times(v)+" "+other)
		}
		fmt.Fprintf(&own, "| %s | %s | %s | %s | %s | %s |\n", r.what, r.mode, r.value, strings.Join(ratios, ", "), r.target(), r.result())
	}
	return fmt.Sprintf("%s\n\n%s\n%s", where, &beside, strings.TrimRight(own.String(), "\n"))
}

// machine says where and when the figures were measured.
func (b *bench) machine() (string, error) {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return "", err
	}
	cpu := "unknown CPU"
	info, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(string(info)) {
		if name, ok := strings.CutPrefix(line, "model name"); ok {
			cpu = strings.Trim(name, " \t\n:")
			break
		}
	}
	out, err := exec.Command("gocryptfs", "-version").Output()
	if err != nil {
		return "", fmt.Errorf("gocryptfs -version: %w", err)
	}
	gocrypt, _, _ := strings.Cut(string(out), ";")
	fuse := "go-fuse"
	if build, ok := debug.ReadBuildInfo(); ok {
		for _, m := range build.Deps {
			if m.Path == "github.com/hanwen/go-fuse/v2" {
				fuse += " " + m.Version
			}
		}
	}
	return fmt.Sprintf("%s, on %d × %s, Linux %s, %s; loopback of %s, %s; load average before %s.", time.Now().UTC().Format(time.DateOnly), runtime.NumCPU(), cpu,
		unix.ByteSliceToString(u.Release[:]), runtime.Version(), fuse, gocrypt, b.load), nil
}

// The section of a README that belongs to the harness.
const (
	sectionBegin = "<!-- bench -->\n"
	sectionEnd   = "<!-- end bench -->"
)

// writeSection replaces what is between the markers.
func writeSection(file, text string) error {
	old, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	before, rest, begins := bytes.Cut(old, []byte(sectionBegin))
	_, after, ends := bytes.Cut(rest, []byte(sectionEnd))
	if !begins || !ends {
		return errors.New(file + " has no section for the figures")
	}
	var out bytes.Buffer
	out.Write(before)
	out.WriteString(sectionBegin + text + "\n" + sectionEnd)
	out.Write(after)
	st, err := os.Stat(file)
	if err != nil {
		return err
	}
	next := filepath.Join(filepath.Dir(file), "."+filepath.Base(file)+".next")
	if err := os.WriteFile(next, out.Bytes(), st.Mode().Perm()); err != nil {
		return err
	}
	return os.Rename(next, file)
}
