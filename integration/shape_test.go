package integration_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/kmsfs/kmsfs/integration/harness"
)

// The shape of the house: rooms and files that a newcomer reads in one sitting.
const (
	mostFiles     = 20   // of a package
	longestFile   = 350  // lines
	longestLine   = 140  // characters, of which a tab is four
	longestMain   = 1400 // lines of package main of kmsfs: a thin file per verb
	charactersTab = 4
)

// manyOf are names of files that every package may have: doc.go is what the package
// is, and main.go is the one file of a program that ends it.
var manyOf = map[string]bool{"doc.go": true, "main.go": true}

// productFile is a file that is compiled into kmsfs or the emulator.
type productFile struct {
	path  string // from the top of the repository
	lines []string
}

func (f productFile) room() string { return filepath.ToSlash(filepath.Dir(f.path)) }

func productFiles(t *testing.T) []productFile {
	t.Helper()
	var all []productFile
	for _, top := range []string{"kms", "cache", "fs", "cmd"} {
		before := len(all)
		err := filepath.WalkDir(harness.Repository(top), func(path string, e os.DirEntry, err error) error {
			if err != nil || e.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
				return err
			}
			name, err := filepath.Rel(harness.Repository(""), path)
			all = append(all, productFile{name, strings.Split(strings.TrimSuffix(harness.Read(t, path), "\n"), "\n")})
			return err
		})
		if err != nil || len(all) == before {
			t.Fatalf("%s has no files (%v)", top, err)
		}
	}
	return all
}

// TestTopLevelIsFixed: who looks at the repository sees few things, each of which
// says what it is. Dot files and what make builds do not count.
func TestTopLevelIsFixed(t *testing.T) {
	known := strings.Fields("cmd fs cache kms integration packaging go.mod go.sum Makefile README.md README.zh-CN.md CHANGELOG.md LICENSE bin")
	entries, err := os.ReadDir(harness.Repository(""))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), ".") && !slices.Contains(known, e.Name()) {
			t.Errorf("%s stands at the top", e.Name())
		}
	}
}

// TestShape holds the sizes.
func TestShape(t *testing.T) {
	rooms, names, main := map[string]int{}, map[string]string{}, 0
	for _, f := range productFiles(t) {
		rooms[f.room()]++
		if n := len(f.lines); n > longestFile {
			t.Errorf("%s has %d lines, more than %d", f.path, n, longestFile)
		}
		for i, line := range f.lines {
			if n := utf8.RuneCountInString(line) + (charactersTab-1)*strings.Count(line, "\t"); n > longestLine {
				t.Errorf("%s:%d has %d characters, more than %d", f.path, i+1, n, longestLine)
			}
		}
		if f.room() == "cmd/kmsfs" {
			main += len(f.lines)
		}
		name := filepath.Base(f.path)
		if top, _, _ := strings.Cut(f.path, "/"); manyOf[name] || top != "fs" && top != "cmd" {
			continue
		}
		if other, taken := names[name]; taken {
			t.Errorf("%s and %s have one name: who looks for one finds the other", f.path, other)
		}
		names[name] = f.path
	}
	for room, n := range rooms {
		if n > mostFiles {
			t.Errorf("%s has %d files, more than %d", room, n, mostFiles)
		}
	}
	if main > longestMain {
		t.Errorf("package main of kmsfs has %d lines, more than %d", main, longestMain)
	}
}
