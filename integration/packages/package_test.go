package packages_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/kmsfs/kmsfs/integration/harness"
)

// makeDeb makes the package of the programs under test.
func makeDeb(t *testing.T, version string, env ...string) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.Link(filepath.Join(harness.BinDir, "kmsfs"), filepath.Join(dir, "kmsfs")); err != nil {
		t.Fatal(err)
	}
	return runDeb(t, dir, version, env...)
}

// runDeb makes the package of the program in a directory.
func runDeb(t *testing.T, dir, version string, env ...string) string {
	t.Helper()
	cmd := exec.Command(harness.Repository("packaging/deb.sh"), dir, version)
	cmd.Env = append(os.Environ(), env...)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("deb.sh: %v\n%s", err, &stderr)
	}
	return strings.TrimSpace(string(out))
}

// The same input makes the same package, whenever and wherever, and versions
// are in Debian's order.
func TestPackageIsReproducible(t *testing.T) {
	// Compressing the program is what takes time: a short one stands for it.
	dirs := []string{t.TempDir(), t.TempDir()}
	for _, dir := range dirs {
		if err := os.WriteFile(filepath.Join(dir, "kmsfs"), []byte("#!/bin/sh\nexec "+filepath.Join(harness.BinDir, "kmsfs")+" \"$@\"\n"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	first := runDeb(t, dirs[0], "v1.2.3", "SOURCE_DATE_EPOCH=1700000000", "TZ=UTC")
	second := runDeb(t, dirs[1], "v1.2.3", "SOURCE_DATE_EPOCH=1700000000", "TZ=Asia/Shanghai", "LANG=C", "TMPDIR="+t.TempDir())
	if harness.Read(t, first) != harness.Read(t, second) {
		t.Error("two packages of the same programs differ")
	}
	if name := filepath.Base(first); !strings.HasPrefix(name, "kmsfs_1.2.3_") {
		t.Errorf("the package is called %s", name)
	}
	order := []string{"development", "v1.2.3", "v1.2.3-4-gabc1234", "v1.2.4"}
	version := func(tag string) string {
		return strings.Split(filepath.Base(runDeb(t, dirs[0], tag)), "_")[1]
	}
	for i, tag := range order[1:] {
		if err := exec.Command("dpkg", "--compare-versions", version(order[i]), "lt", version(tag)).Run(); err != nil {
			t.Errorf("%s does not come before %s: %v", order[i], tag, err)
		}
	}
}

// The package is installed, used and purged, and leaves what was there.
func TestPackageIsInstalledUsedAndPurged(t *testing.T) {
	h := harness.BootHost(t)
	h.Put(t, "/root/kmsfs.deb", harness.Read(t, makeDeb(t, "v1.2.3")))
	// Whatever this machine lacks of the dependencies is not in question here.
	changed := func() string {
		// The user of the service stays, as Debian's packages leave theirs.
		return h.Must(t, "sh", "-c", "find /usr /etc -xdev -newer /root/kmsfs.deb ! -type d ! -name 'passwd*' ! -name 'group*' ! -name '*shadow*' ! -name .pwd.lock")
	}
	before := changed()
	h.Must(t, "dpkg", "--install", "/root/kmsfs.deb")
	if got := h.Must(t, "dpkg-query", "--show", "--showformat=${db:Status-Status} ${Version}", "kmsfs"); got != "installed 1.2.3" {
		t.Errorf("dpkg says %q", got)
	}
	h.Must(t, "sh", "-c", "cd / && md5sum --check --quiet /var/lib/dpkg/info/kmsfs.md5sums")

	h.Put(t, "/srv/certs/a.cipher", harness.Seal(t, h.Lab, "the secret"))
	h.Must(t, "mkdir", "/srv/mnt")
	for _, fstype := range []string{"kmsfs", "fuse.kmsfs"} {
		h.Must(t, "mount", "-t", fstype, "/srv/certs", "/srv/mnt", "-o", h.Options(harness.CredentialsOption))
		if got := h.Must(t, "cat", "/srv/mnt/a"); got != "the secret" {
			t.Errorf("as %s it reads %q", fstype, got)
		}
		h.Must(t, "kmsfs", "umount", "/srv/mnt")
	}
	for _, page := range []string{"kmsfs.1", "mount.kmsfs.8", "mount.fuse.kmsfs.8"} {
		if text := h.Must(t, "sh", "-c", "zcat /usr/share/man/man?/"+page+".gz"); len(text) < 20 {
			t.Errorf("%s: %q", page, text)
		}
	}
	complete := h.Must(t, "bash", "-c", `. /usr/share/bash-completion/completions/kmsfs
_get_comp_words_by_ref() { cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]} words=("${COMP_WORDS[@]}") cword=$COMP_CWORD; }
__ltrim_colon_completions() { :; }
COMP_WORDS=(kmsfs umo) COMP_CWORD=1 COMP_LINE='kmsfs umo' COMP_POINT=9
__start_kmsfs 2>/dev/null
echo "${COMPREPLY[@]}"`)
	if strings.TrimSpace(complete) != "umount" {
		t.Errorf("kmsfs umo completes to %q", complete)
	}

	// Purging ends what runs, and leaves what the admin wrote.
	h.Serve(t, "certs", "/srv/certs", "/run/certs")
	h.Must(t, "systemctl", "enable", "kmsfs@certs.service")
	h.Must(t, "dpkg", "--purge", "kmsfs")
	if what, err := h.Run("findmnt", "/run/certs"); err == nil {
		t.Errorf("still mounted: %s", what)
	}
	if got := harness.Read(t, h.Path("/etc/kmsfs/certs.env")); !strings.Contains(got, "SRC=") {
		t.Errorf("the admin's file reads %q", got)
	}
	h.Must(t, "rm", "-r", "/etc/kmsfs", "/etc/credstore")
	if after := changed(); before != after {
		t.Errorf("before: %s\nafter: %s", before, after)
	}
	if out, err := h.Run("which", "kmsfs", "mount.kmsfs"); err == nil {
		t.Errorf("left: %s", out)
	}
}

// The manual pages are in order, and say what --help and the table say.
func TestManualSaysWhatHelpSays(t *testing.T) {
	harness.Program(t, "man")
	dir := t.TempDir()
	for _, page := range []string{"kmsfs.1", "mount.kmsfs.8"} {
		text, err := exec.Command(filepath.Join(harness.BinDir, "kmsfs"), "man", page).Output()
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(dir, page)
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command("man", "--warnings", "--local-file", path)
		cmd.Env = append(os.Environ(), "LC_ALL=C.UTF-8", "MANWIDTH=300", "MANPAGER=cat")
		var warnings strings.Builder
		cmd.Stderr = &warnings
		shown, err := cmd.Output()
		if err != nil || warnings.Len() > 0 {
			t.Errorf("%s: %v\n%s", page, err, &warnings)
		}
		rows := strings.Split(readmeOptions(t), "\n")
		if len(rows) < 20 {
			t.Fatalf("the README has %d options", len(rows))
		}
		for _, row := range rows {
			cells := strings.Split(strings.ReplaceAll(row, `\|`, "\x00"), "|")
			for _, cell := range []string{strings.Trim(cells[1], " `"), strings.TrimSpace(cells[3])} {
				if cell = strings.ReplaceAll(cell, "\x00", "|"); !strings.Contains(string(shown), cell) {
					t.Errorf("%s does not have %q", page, cell)
				}
			}
		}
	}
	if out, err := exec.Command(filepath.Join(harness.BinDir, "kmsfs"), "man", "other").CombinedOutput(); err == nil {
		t.Errorf("a page that does not exist: %s", out)
	}
}

// readmeOptions are the rows of the README's table.
func readmeOptions(t *testing.T) string {
	t.Helper()
	_, rest, _ := strings.Cut(harness.Read(t, harness.Repository("README.md")), "<!-- options -->\n")
	rows, _, ok := strings.Cut(rest, "\n<!-- end -->")
	if !ok {
		t.Fatal("the README has no table of options")
	}
	return rows
}
