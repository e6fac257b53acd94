package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"
)

const (
	mostRSS   = 12 << 20
	mostStart = 50 * time.Millisecond
	settle    = time.Second // until a process that has mounted counts as idle
)

// measureStart measures how long kmsfs mount takes until the mount answers,
// and what memory the process has then.
func (b *bench) measureStart(ctx context.Context) ([]row, error) {
	mode := modes[0]
	p := b.kmsfs(b.lab, mode, "")
	if err := os.MkdirAll(p.dir, 0o700); err != nil {
		return nil, err
	}
	b.later(func() error { return unmount(p.dir) })
	var times []float64
	for range b.starts {
		begun := time.Now()
		if _, err := b.lab.Kmsfs(nil, "mount", "-o", kmsfsOptions(mode, ""), b.path("source"), p.dir); err != nil {
			return nil, err
		}
		times = append(times, time.Since(begun).Seconds())
		if _, err := b.lab.Kmsfs(nil, "umount", p.dir); err != nil {
			return nil, err
		}
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
	}
	start := row{what: "exec to mounted", value: duration(median(times)), bound: "≤ " + duration(mostStart.Seconds())}
	if over := median(times) / mostStart.Seconds(); over > 1 {
		start.missed = excess(over)
	}

	rows := []row{start}
	for _, pages := range []string{"madvise", "always"} {
		rss, err := b.measureMemory(ctx, p, pages)
		if err != nil {
			return nil, err
		}
		rows = append(rows, rss)
	}
	return rows, nil
}

// hugePages says when the kernel gives 2 MB where 4 KB are touched. Debian says
// always.
const hugePages = "/sys/kernel/mm/transparent_hugepage/enabled"

// measureMemory measures an idle process under one setting of the kernel, which
// it puts back.
func (b *bench) measureMemory(ctx context.Context, p *place, pages string) (rss row, err error) {
	was, err := os.ReadFile(hugePages)
	if err != nil {
		return row{}, err
	}
	_, rest, _ := strings.Cut(string(was), "[")
	before, _, _ := strings.Cut(rest, "]")
	restore := func() error { return os.WriteFile(hugePages, []byte(before), 0) }
	b.later(restore)
	defer func() { err = errors.Join(err, restore()) }()
	if err := os.WriteFile(hugePages, []byte(pages), 0); err != nil {
		return row{}, err
	}
	if err := p.mount(ctx, b); err != nil {
		return row{}, err
	}
	time.Sleep(settle)
	resident, unlocked, err := memory(p.cmd.Process.Pid)
	if err = errors.Join(err, p.unmount()); err != nil {
		return row{}, err
	}
	rss = row{what: "memory when idle (RSS), huge pages " + pages, value: fmt.Sprintf("%.1f MB, all locked", float64(resident)/(1<<20)), bound: fmt.Sprintf("≤ %d MB, locked", mostRSS>>20)}
	if unlocked > 0 {
		rss.value = fmt.Sprintf("%.1f MB, %.1f MB of it not locked", float64(resident)/(1<<20), float64(unlocked)/(1<<20))
		rss.missed = "not locked"
	}
	if over := float64(resident) / mostRSS; over > 1 {
		rss.missed = strings.TrimPrefix(rss.missed+", "+excess(over), ", ")
	}
	return rss, nil
}

// memory sums up the resident mappings of a process, and those of them that
// are not locked ("lo"). The kernel's own pages are never swapped.
func memory(pid int) (resident, unlocked int, err error) {
	smaps, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps", pid))
	if err != nil {
		return 0, 0, err
	}
	name, here := "", 0
	for s := bufio.NewScanner(bytes.NewReader(smaps)); s.Scan(); {
		fields := strings.Fields(s.Text())
		switch {
		case len(fields) > 0 && strings.Contains(fields[0], "-"):
			name = fields[len(fields)-1]
		case strings.HasPrefix(s.Text(), "Rss:"):
			if _, err := fmt.Sscanf(s.Text(), "Rss: %d kB", &here); err != nil {
				return 0, 0, err
			}
			here <<= 10
			resident += here
		case strings.HasPrefix(s.Text(), "VmFlags:"):
			if !strings.Contains(s.Text()+" ", " lo ") && name != "[vdso]" && name != "[vvar]" && name != "[vvar_vclock]" {
				unlocked += here
			}
		}
	}
	if resident == 0 {
		return 0, 0, errors.New("smaps shows no memory")
	}
	return resident, unlocked, nil
}
