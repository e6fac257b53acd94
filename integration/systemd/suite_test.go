package systemd_test

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/kmsfs/kmsfs/integration/harness"
)

// notAsService are the tests of a mount that say nothing of a service's, and
// why. Every other one has to pass there.
var notAsService = map[string]string{
	"TestCanaryIsInNoCoreOfACrash":            "the process gets an environment that asks for a core",
	"TestCanaryIsNeverSwappedOut":             "one of its two processes runs without a capability that no service has",
	"TestProcessIsProtected":                  "the process runs without a capability that no service has",
	"TestLimitOfLockedMemoryCostsNoReader":    "the process runs under limits that the unit does not set",
	"TestHoardedPlainFilesStopNobody":         "a limit is set on the running process, which takes a capability that is not to be had everywhere",
	"TestReloadRunsNoUnsafeProgram":           "the process runs another program than the installed one",
	"TestMountOverItsSourceShowsThePlaintext": "a service does not mount over its own source, see TestServiceServesAndIsWatched",
	"TestFastReadsNothingAfterTTLAndKill":     "a killed service has a successor, see TestServiceKeepsItsMountThroughDeaths",
	"TestCrashEndsReads":                      "a killed service has a successor, see TestServiceKeepsItsMountThroughDeaths",
	"TestCrashEndsSplice":                     "a killed service has a successor, see TestServiceKeepsItsMountThroughDeaths",
	"TestKillWhileDroppingEndsInTime":         "a killed service has a successor, see TestServiceKeepsItsMountThroughDeaths",
	"TestDeadSocketGoesWithItsMount":          "a killed service has a successor, see TestServiceKeepsItsMountThroughDeaths",
}

// mountTest is a test that mounts, and the theme it belongs to.
type mountTest struct{ theme, name string }

// mountTests are the tests of all themes that mount through harness.MountOn, by
// what the functions of their package and of the harness name. Methods are told
// apart by their names only: one that does not mount after all is found out
// when it is run.
func mountTests(t *testing.T) (all []mountTest) {
	t.Helper()
	mounting := reach(users(t, harness.Repository("integration/harness/*.go"), "harness."), "harness.MountOn")
	themes, err := filepath.Glob(harness.Repository("integration/*/main_test.go"))
	if err != nil {
		t.Fatal(err)
	}
	for _, main := range themes {
		theme := filepath.Base(filepath.Dir(main))
		for _, name := range slices.Sorted(maps.Keys(reach(users(t, filepath.Dir(main)+"/*_test.go", ""), slices.Sorted(maps.Keys(mounting))...))) {
			if strings.HasPrefix(name, "Test") {
				all = append(all, mountTest{theme, name})
			}
		}
	}
	return all
}

// users are, for each function that the files of a package name, or method with
// a dot before its name, the functions and methods that do. Its own functions
// are called as others call them, with a prefix.
func users(t *testing.T, pattern, prefix string) map[string][]string {
	t.Helper()
	files, err := filepath.Glob(pattern)
	if err != nil || len(files) == 0 {
		t.Fatalf("%s matches nothing (%v)", pattern, err)
	}
	users := map[string][]string{}
	for _, path := range files {
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range file.Decls {
			f, ok := d.(*ast.FuncDecl)
			if !ok {
				continue
			}
			user := prefix + f.Name.Name
			if f.Recv != nil {
				user = "." + f.Name.Name
			}
			ast.Inspect(f.Body, func(n ast.Node) bool {
				switch n := n.(type) {
				case *ast.SelectorExpr:
					name := "." + n.Sel.Name
					if of, ok := n.X.(*ast.Ident); ok && of.Name == "harness" {
						name = "harness" + name
					}
					users[name] = append(users[name], user)
				case *ast.Ident:
					users[prefix+n.Name] = append(users[prefix+n.Name], user)
				}
				return true
			})
		}
	}
	return users
}

// reach are the functions that use others, and those that use these.
func reach(users map[string][]string, names ...string) map[string]bool {
	reached := map[string]bool{}
	for len(names) > 0 {
		name := names[0]
		names = names[1:]
		if !reached[name] {
			reached[name] = true
			names = append(names, users[name]...)
		}
	}
	return reached
}

// The service's sandbox takes nothing away from what a root process does: the
// tests of a mount pass there as well, with the unit as it is shipped.
func TestServicePassesTheTestsOfAMount(t *testing.T) {
	harness.NeedMount(t)
	tests := mountTests(t)
	for name, why := range notAsService {
		if !slices.ContainsFunc(tests, func(m mountTest) bool { return m.name == name }) || why == "" {
			t.Errorf("%s is no test of a mount", name)
		}
	}
	tests = slices.DeleteFunc(tests, func(m mountTest) bool { return notAsService[m.name] != "" })
	if len(tests) < 70 {
		t.Errorf("only %d tests mount", len(tests))
	}
	compile(t, tests)
	queue := make(chan mountTest, len(tests))
	for _, m := range tests {
		queue <- m
	}
	close(queue)
	// A machine runs one test at a time, as this one does.
	for i := range 2 {
		t.Run(fmt.Sprint("machine ", i+1), func(t *testing.T) {
			t.Parallel()
			h := harness.BootKmsfs(t)
			bringTests(t, h)
			for m := range queue {
				t.Run(m.name, func(t *testing.T) { passes(t, h, m) })
			}
			spotless(t, h)
		})
	}
}

// compile makes a program of the tests of each theme, beside the programs that
// they use: on the host is no compiler.
func compile(t *testing.T, tests []mountTest) {
	t.Helper()
	for _, program := range []string{"integration/sdkclient", "integration/programs/probe"} {
		harness.Built(t, program)
	}
	args := []string{"test", "-c", "-o", harness.BinDir}
	for _, m := range tests {
		if theme := "./integration/" + m.theme; !slices.Contains(args, theme) {
			args = append(args, theme)
		}
	}
	build := exec.Command("go", args...)
	build.Dir = harness.Checkout()
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
}

// bringTests copies to the host what compile has made, and the files of the
// tree that its tests use.
func bringTests(t *testing.T, h *harness.Host) {
	t.Helper()
	h.Must(t, "mkdir", "-p", "/srv/kmsfs", "/srv/tmp")
	for _, from := range []string{harness.BinDir, harness.Repository("integration"), harness.Repository("README.md"), harness.Repository("go.mod")} {
		if out, err := exec.Command("cp", "-r", from, h.Path("/srv/kmsfs")).CombinedOutput(); err != nil {
			t.Fatalf("copy %s: %v\n%s", from, err, out)
		}
	}
}

// passes runs one test on the host. CI makes a failure of what is skipped.
func passes(t *testing.T, h *harness.Host, m mountTest) {
	out, err := h.Run("env", "--chdir=/srv/kmsfs/integration/"+m.theme, "TMPDIR=/srv/tmp", "CI=1",
		"/srv/kmsfs/bin/"+m.theme+".test", "-service", "-test.v", "-test.count=1", "-test.timeout=4m", "-test.run=^"+m.name+"$")
	if err != nil || !strings.Contains(out, "\n--- PASS: "+m.name+" ") || strings.Contains(out, "--- SKIP: ") {
		t.Errorf("as a service (%v):\n%s", err, out)
	}
}

// spotless is the host without a trace of its services.
func spotless(t *testing.T, h *harness.Host) {
	t.Helper()
	if mounts, err := h.Run("findmnt", "--noheadings", "--types=fuse.kmsfs"); err == nil && mounts != "" {
		t.Errorf("mounted: %s", mounts)
	}
	if units := h.Must(t, "systemctl", "list-units", "--all", "--plain", "--no-legend", "kmsfs@*"); units != "" {
		t.Errorf("units: %s", units)
	}
	for _, dir := range []string{"/srv/tmp", "/run/kmsfs-server/kmsfs", "/run/kmsfs", "/etc/credstore"} {
		entries, err := os.ReadDir(h.Path(dir))
		if err != nil && !os.IsNotExist(err) {
			t.Error(err)
		}
		for _, e := range entries {
			t.Errorf("left behind: %s/%s (%s)", dir, e.Name(), fs.FormatDirEntry(e))
		}
	}
	if processes, err := h.Run("pgrep", "--list-full", "--runstates", "DRSTt", "kms"); err == nil {
		t.Errorf("processes: %s", processes)
	}
}
