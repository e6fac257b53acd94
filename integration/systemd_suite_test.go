package integration_test

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
)

// notAsService are the tests of a mount that say nothing of a service's, and
// why. Every other one has to pass there.
var notAsService = map[string]string{
	"TestCanaryInCoreOfCrash":     "the process gets an environment that asks for a core",
	"TestCanaryInSwap":            "one of its two processes runs without a capability that no service has",
	"TestProcessIsProtected":      "the process runs without a capability that no service has",
	"TestLimitOfLockedMemory":     "the process runs under limits that the unit does not set",
	"TestHoardedPlainFiles":       "a limit is set on the running process, which takes a capability that is not to be had everywhere",
	"TestReloadOfUnsafeProgram":   "the process runs another program than the installed one",
	"TestOverSource":              "a service does not mount over its own source, see TestSystemdService",
	"TestFastAfterKill":           "a killed service has a successor, see TestSystemdStore",
	"TestCrashEndsReads":          "a killed service has a successor, see TestSystemdStore",
	"TestCrashEndsSplice":         "a killed service has a successor, see TestSystemdStore",
	"TestControlSocketAfterCrash": "a killed service has a successor, see TestSystemdStore",
}

// callsMount are the tests that mount through mountOn, by what the functions of
// this package name. Methods are told apart by their names only: one that does
// not mount after all is found out when it is run.
func callsMount(t *testing.T) []string {
	t.Helper()
	files, err := filepath.Glob("*_test.go")
	if err != nil {
		t.Fatal(err)
	}
	users := map[string][]string{} // of a function, or of a method with a dot before its name
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
			user := f.Name.Name
			if f.Recv != nil {
				user = "." + user
			}
			ast.Inspect(f.Body, func(n ast.Node) bool {
				switch n := n.(type) {
				case *ast.SelectorExpr:
					users["."+n.Sel.Name] = append(users["."+n.Sel.Name], user)
					ast.Inspect(n.X, func(ast.Node) bool { return true })
				case *ast.Ident:
					users[n.Name] = append(users[n.Name], user)
				}
				return true
			})
		}
	}
	reached := map[string]bool{}
	var reach func(name string)
	reach = func(name string) {
		if !reached[name] {
			reached[name] = true
			for _, user := range users[name] {
				reach(user)
			}
		}
	}
	reach("mountOn")
	maps.DeleteFunc(reached, func(name string, _ bool) bool { return !strings.HasPrefix(name, "Test") })
	return slices.Sorted(maps.Keys(reached))
}

// The service's sandbox takes nothing away from what a root process does: the
// tests of a mount pass there as well, with the unit as it is shipped.
func TestSystemdSuite(t *testing.T) {
	needMount(t)
	tests := callsMount(t)
	for name, why := range notAsService {
		if !slices.Contains(tests, name) || why == "" {
			t.Errorf("%s is no test of a mount", name)
		}
	}
	tests = slices.DeleteFunc(tests, func(name string) bool { return notAsService[name] != "" })
	if len(tests) < 70 {
		t.Errorf("only %d tests mount", len(tests))
	}
	for _, program := range []string{"./sdkclient", "./programs/probe"} {
		built(t, program)
	}
	queue := make(chan string, len(tests))
	for _, name := range tests {
		queue <- name
	}
	close(queue)
	// A machine runs one test at a time, as this one does.
	for i := range 2 {
		t.Run(fmt.Sprint("machine ", i+1), func(t *testing.T) {
			t.Parallel()
			h := bootKmsfs(t)
			program := h.bringTests(t)
			for name := range queue {
				t.Run(name, func(t *testing.T) { h.passes(t, program, name) })
			}
			h.spotless(t)
		})
	}
}

// bringTests copies this program to the host, with the programs and files that
// its tests use.
func (h *host) bringTests(t *testing.T) (program string) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	h.run(t, "mkdir", "-p", "/srv/kmsfs/bin", "/srv/tmp")
	for _, c := range [][]string{
		{"cp", self, h.Path("/srv/kmsfs/bin/integration.test")},
		{"cp", "-r", binDir, h.Path("/srv/kmsfs")},
		{"cp", "-r", ".", h.Path("/srv/kmsfs/integration")},
		{"cp", "../README.md", h.Path("/srv/kmsfs")},
	} {
		if out, err := exec.Command(c[0], c[1:]...).CombinedOutput(); err != nil {
			t.Fatalf("%q: %v\n%s", c, err, out)
		}
	}
	return "/srv/kmsfs/bin/integration.test"
}

// passes runs one test on the host. CI makes a failure of what is skipped.
func (h *host) passes(t *testing.T, program, name string) {
	out, err := h.Run("env", "--chdir=/srv/kmsfs/integration", "TMPDIR=/srv/tmp", "CI=1",
		program, "-service", "-test.v", "-test.count=1", "-test.timeout=4m", "-test.run=^"+name+"$")
	if err != nil || !strings.Contains(out, "\n--- PASS: "+name+" ") || strings.Contains(out, "--- SKIP: ") {
		t.Errorf("as a service (%v):\n%s", err, out)
	}
}

// spotless is the host without a trace of its services.
func (h *host) spotless(t *testing.T) {
	t.Helper()
	if mounts, err := h.Run("findmnt", "--noheadings", "--types=fuse.kmsfs"); err == nil && mounts != "" {
		t.Errorf("mounted: %s", mounts)
	}
	if units := h.run(t, "systemctl", "list-units", "--all", "--plain", "--no-legend", "kmsfs@*"); units != "" {
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
