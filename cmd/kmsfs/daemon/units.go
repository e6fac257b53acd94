package daemon

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/kmsfs/kmsfs/cmd/kmsfs/ui"
)

// unitDirs are where units are, the first ones before the others.
var unitDirs = []string{
	"/etc/systemd/system", "/run/systemd/system", "/run/systemd/transient", "/run/systemd/generator",
	"/usr/local/lib/systemd/system", "/usr/lib/systemd/system", "/lib/systemd/system",
}

// maxUnitFile bounds what is read of a unit.
const maxUnitFile = 64 << 10

// warnOfSystemd returns what is told of each file that systemd itself reads: it
// warns of the first one. nil: the first process is not systemd.
func (d *daemon) warnOfSystemd() func(name string) {
	if st, err := os.Lstat("/run/systemd/system"); err != nil || !st.IsDir() { // as sd_booted(3)
		return nil
	}
	var once sync.Once
	return func(name string) {
		once.Do(func() {
			go func() { // who asks is waiting
				d.warnings.warn(systemdReads(name, unitsNaming(filepath.Join(d.Point, name), unitDirs)))
			}()
		})
	}
}

func systemdReads(name string, units []string) string {
	whose := ""
	if len(units) > 0 {
		whose = " (" + strings.Join(units, ", ") + ")"
	}
	return fmt.Sprintf("systemd itself reads %s%s, as for EnvironmentFile= and ConditionPathExists=: "+
		"while it waits, nothing is started or stopped on this machine, so it gets an error after a second; "+
		"with LoadCredential= the service's own process reads", ui.Quote(name), whose)
}

// unitsNaming are the units with a path in them. A unit may also name it in other
// words, which nobody but systemd understands.
func unitsNaming(path string, dirs []string) (units []string) {
	for _, dir := range dirs {
		filepath.WalkDir(dir, func(at string, e fs.DirEntry, err error) error {
			if err != nil || !e.Type().IsRegular() {
				return nil
			}
			unit := e.Name()
			if above := filepath.Base(filepath.Dir(at)); strings.HasSuffix(above, ".d") {
				unit = strings.TrimSuffix(above, ".d") // UNIT.d/NAME.conf
			}
			if !slices.Contains(units, unit) && names(at, path) {
				units = append(units, unit)
			}
			return nil
		})
	}
	return units
}

// names tells whether a file has a path in it, as a whole word.
func names(file, path string) bool {
	f, err := os.Open(file)
	if err != nil {
		return false
	}
	defer f.Close()
	text := make([]byte, maxUnitFile)
	n, _ := f.Read(text)
	for line := range bytes.Lines(text[:max(n, 0)]) {
		line = bytes.TrimSpace(line)
		if bytes.HasPrefix(line, []byte("#")) || bytes.HasPrefix(line, []byte(";")) {
			continue
		}
		_, value, _ := bytes.Cut(line, []byte("="))
		for word := range bytes.FieldsSeq(value) {
			if string(bytes.Trim(word, "-!|+\"'")) == path { // what units write before a path
				return true
			}
		}
	}
	return false
}
