package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

const (
	mostLag = 10 * time.Millisecond
	// settled is how long a file must have been left alone until the kernel may
	// trust its name.
	settled = 300 * time.Millisecond
	// together many files are replaced while their names are trusted, in less
	// than the second for which they are.
	replacedTogether = 100
)

// measureReplaced measures how old a stat may be: the time from the end of
// rename(2) in the source until a stat of the trusted name shows the new file.
func (b *bench) measureReplaced(ctx context.Context) (rows []row, err error) {
	for _, source := range []string{"source", "disk"} {
		dir := b.path(source)
		if err := os.MkdirAll(filepath.Join(dir, "replaced"), 0o700); err != nil {
			return nil, err
		}
		var fs unix.Statfs_t
		if err := unix.Statfs(dir, &fs); err != nil {
			return nil, err
		}
		p := b.kmsfs(b.lab, modes[0], "")
		p.start = b.serving(dir, p.dir)
		if err := p.mount(ctx, b); err != nil {
			return nil, err
		}
		var lags []float64
		for range b.replaced {
			more, err := b.replace(filepath.Join(dir, "replaced"), filepath.Join(p.dir, "replaced"))
			if err = errors.Join(err, ctx.Err()); err != nil {
				return nil, errors.Join(err, p.unmount())
			}
			lags = append(lags, more...)
		}
		if err := p.unmount(); err != nil {
			return nil, err
		}
		slices.Sort(lags)
		late := lags[len(lags)*99/100]
		r := row{what: "age of a stat after a rename, on " + fileSystem(int64(fs.Type)), mode: modes[0],
			value: fmt.Sprintf("median %s, 99 %% %s of %d", duration(median(lags)), duration(late), len(lags)), bound: "99 % ≤ " + duration(mostLag.Seconds())}
		if over := late / mostLag.Seconds(); over > 1 {
			r.missed = excess(over)
		}
		rows = append(rows, r)
	}
	return rows, nil
}

func (b *bench) serving(source, dir string) func(context.Context) (*server, error) {
	return func(ctx context.Context) (*server, error) {
		return serve(ctx, b.lab.Command("mount", "--foreground", "-o", kmsfsOptions(modes[0], ""), source, dir), dir)
	}
}

// replace replaces files whose names the kernel trusts, one after the other, and
// returns the seconds until a stat shows each.
func (b *bench) replace(source, shown string) (lags []float64, err error) {
	const before, after = 100, 200
	name := func(i int) string { return fmt.Sprintf("r%03d", i) }
	put := func(i, size int, suffix string) error {
		blob, err := b.blobOf(size)
		if err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(source, name(i)+suffix), []byte(blob), 0o600)
	}
	for i := range replacedTogether {
		if err := errors.Join(put(i, before, ".cipher"), put(i, after, ".next")); err != nil {
			return nil, err
		}
	}
	time.Sleep(settled) // the age is what the trust depends on
	var st unix.Stat_t
	for i := range replacedTogether {
		if err := unix.Stat(filepath.Join(shown, name(i)), &st); err != nil || st.Size != before {
			return nil, fmt.Errorf("before: %d bytes (%v)", st.Size, err)
		}
	}
	for i := range replacedTogether {
		if err := os.Rename(filepath.Join(source, name(i)+".next"), filepath.Join(source, name(i)+".cipher")); err != nil {
			return nil, err
		}
		begun := time.Now()
		for st.Size = 0; st.Size != after; {
			if err := unix.Stat(filepath.Join(shown, name(i)), &st); err != nil {
				return nil, err
			}
			if time.Since(begun) > patience {
				return nil, fmt.Errorf("%s is not seen", name(i))
			}
		}
		lags = append(lags, time.Since(begun).Seconds())
	}
	return lags, nil
}

func fileSystem(magic int64) string {
	switch magic {
	case unix.TMPFS_MAGIC:
		return "tmpfs"
	case unix.EXT4_SUPER_MAGIC:
		return "ext4"
	}
	return fmt.Sprintf("file system %#x", magic)
}
