package integration_test

import (
	"encoding/json"
	"io"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/kmsfs/kmsfs/integration/harness"
)

const module = "github.com/kmsfs/kmsfs/"

// floors says what each room may import besides the standard library. Imports
// go down only; what is not in the table is not allowed.
var floors = []struct {
	room  string
	may   []string
	never []string // of the standard library or among the indirect ones
	why   string
}{
	{"fs/trusted", nil, []string{"net/http"}, "one security rule about files, for all who need it; it knows none of them"},
	{"kms", nil, []string{"net/http"}, "the contract knows no vendor and no transport, and needs no library"},
	{"kms/gate", []string{"kms", "golang.org/x/time", "github.com/cenkalti/backoff/v5"}, []string{"net/http"}, "what stands before every call: a token bucket and pauses, and neither vendor nor transport"},
	{"kms/aliyun/blobs", []string{"kms"}, []string{"net/http"}, "what the bytes of a file are; neither network nor library"},
	{"kms/aliyun/scrub", []string{"kms"}, nil, "the wall: what comes from the SDK stays on the other side, so it is not linked here"},
	{"kms/aliyun/credentials", []string{"kms", "fs/trusted", "kms/aliyun/scrub", "github.com/aliyun/credentials-go", "gopkg.in/ini.v1"}, nil, "where an access key comes from (ini: the parser that Alibaba's libraries read their profiles with)"},
	{"kms/aliyun/cloudtest", []string{"kms", "golang.org/x/sys"}, nil, "a cloud for tests, which knows nothing of the client whose other side it is"},
	{"kms/aliyun", []string{"kms", "kms/aliyun/blobs", "kms/aliyun/credentials", "kms/aliyun/scrub", "github.com/aliyun/alibaba-cloud-sdk-go"}, nil, "the only room that knows the SDK; with those below it the only ones that know Alibaba Cloud"},
	{"kms/emulator/wire", nil, nil, "what a client sends and gets; no account, and nothing of the client whose other side it is"},
	{"kms/emulator/account", []string{"kms", "kms/emulator/wire", "go.etcd.io/bbolt"}, []string{"net/http", "crypto/tls"}, "keys in a file; of the contract it needs the limits, of the wire parameters and errors, and no HTTP"},
	{"kms/emulator", []string{"kms/emulator/account", "kms/emulator/wire"}, nil, "a fake that listens; it joins the two, and neither the contract nor the file is its own"},
	{"cache/secmem", []string{"golang.org/x/sys"}, nil, "memory, and nothing of what is in it"},
	{"cache", []string{"github.com/hashicorp/golang-lru/v2/simplelru", "golang.org/x/sys", "cache/secmem"}, nil, "lifetime; neither FUSE, nor KMS, nor what a path means (x/sys: the boot clock)"},
	{"fs/mount", []string{"golang.org/x/sys"}, nil, "the mount table and what changes it; nothing of what is served"},
	{"fs/audit", []string{"golang.org/x/sys", "kms"}, nil, "who did what, with which errno; no FUSE (x/sys: whose process a thread is)"},
	{"fs/source", []string{"golang.org/x/sys"}, nil, "the untrusted directory; neither what its bytes mean nor who reads them"},
	{"fs/session", []string{"github.com/hanwen/go-fuse/v2/fuse", "golang.org/x/sys", "fs/mount"}, nil, "one connection with the kernel; the protocol, and neither files nor plaintext"},
	{"fs/invalidate", []string{"golang.org/x/sys", "cache", "fs/source"}, nil, "what is taken back from the kernel; keys, ids and paths, and neither nodes nor FUSE (x/sys: inotify; cache: what a key is)"},
	{"fs", []string{"github.com/hanwen/go-fuse/v2", "github.com/hashicorp/golang-lru/v2/simplelru", "golang.org/x/sys", "cache", "kms", "fs/audit", "fs/invalidate", "fs/mount", "fs/session", "fs/source"}, []string{"net/http", "flag"}, "what the kernel sees; no vendor, no HTTP, no flags"},
	{"cmd/kmsfs/ui", []string{"golang.org/x/term", "kms", "kms/aliyun", "kms/aliyun/credentials", "kms/aliyun/scrub", "fs/trusted"}, nil, "messages and hints; it knows errors, and nothing of what the program does (x/term: is it one?)"},
	{"cmd/kmsfs/options", []string{"github.com/spf13/pflag", "cmd/kmsfs/ui", "kms", "kms/aliyun"}, nil, "the one table; a value is typed here, and used elsewhere (the vendor reads ARNs)"},
	{"cmd/kmsfs/control", []string{"golang.org/x/sys", "cmd/kmsfs/ui", "fs/mount"}, nil, "both ends of one socket; it finds it by the mount table, and what a verb does is brought by the daemon"},
	{"cmd/kmsfs/supervise", []string{"golang.org/x/sys", "cmd/kmsfs/ui", "fs/mount", "fs/session", "fs/trusted"}, nil, "processes that follow each other; the holder reads no secret, so it has no cache, no key service and no options"},
	{"cmd/kmsfs/ciphertexts", []string{"golang.org/x/sys", "cmd/kmsfs/options", "cmd/kmsfs/ui", "fs", "fs/source", "kms", "kms/gate", "kms/aliyun/blobs"}, []string{"net/http"}, "files outside of a mount; no command line, and the key service is brought to it"},
	{"cmd/kmsfs/keyservice", []string{"cmd/kmsfs/options", "cmd/kmsfs/ui", "kms", "kms/gate", "kms/aliyun", "kms/aliyun/credentials"}, nil, "the one place where settings become a client of the vendor"},
	{"cmd/kmsfs/manual", []string{"github.com/spf13/cobra", "github.com/spf13/pflag", "cmd/kmsfs/options"}, nil, "pages made of the help and of the table, so it knows both and nothing else"},
	{"cmd/kmsfs/mountpoint", []string{"golang.org/x/sys", "cmd/kmsfs/control", "cmd/kmsfs/supervise", "cmd/kmsfs/ui", "fs/mount"}, nil, "where a mount goes; nothing of what is served there (control: a dead one is swept away; supervise: one that lives is succeeded)"},
	{"cmd/kmsfs/daemon", []string{"golang.org/x/sys", "golang.org/x/time", "cmd/kmsfs/control", "cmd/kmsfs/options", "cmd/kmsfs/supervise", "cmd/kmsfs/ui", "fs", "fs/mount", "cache", "cache/secmem", "kms", "kms/gate"}, []string{"net/http"}, "the process that answers joins the rooms; who decrypts is brought to it, so that it knows no vendor"},
	{"cmd/kmsfs", []string{"github.com/spf13/cobra", "golang.org/x/sys", "cmd/kmsfs/ciphertexts", "cmd/kmsfs/control", "cmd/kmsfs/daemon", "cmd/kmsfs/keyservice", "cmd/kmsfs/manual", "cmd/kmsfs/mountpoint", "cmd/kmsfs/options", "cmd/kmsfs/supervise", "cmd/kmsfs/ui", "fs/mount", "fs/session", "cache/secmem", "kms/gate", "kms/aliyun", "kms/aliyun/blobs"}, nil, "a file per command; it brings the vendor to the daemon, but never links a fake"},
	{"cmd/kms-emulator", []string{"kms/emulator", "github.com/spf13/cobra", "github.com/spf13/pflag"}, nil, "a separate program, so that the product never links a fake"},
}

type goPackage struct {
	ImportPath string
	Imports    []string
	Deps       []string
	GoFiles    []string
	Doc        string
}

func listPackages(t *testing.T) []goPackage {
	t.Helper()
	out, err := exec.Command("go", "list", "-json=ImportPath,Imports,Deps,GoFiles,Doc", module+"...").Output()
	if err != nil {
		t.Fatal(err)
	}
	var all []goPackage
	for d := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p goPackage
		if err := d.Decode(&p); err == io.EOF {
			return all
		} else if err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
}

// TestFloors holds the import table.
func TestFloors(t *testing.T) {
	rooms := map[string]bool{}
	for _, p := range listPackages(t) {
		room := strings.TrimPrefix(p.ImportPath, module)
		if p.Doc == "" {
			t.Errorf("%s has no package doc", room)
		}
		if strings.HasPrefix(room, "integration") {
			continue // black box; it may use what it likes
		}
		rooms[room] = true
		i := slices.IndexFunc(floors, func(f struct {
			room  string
			may   []string
			never []string
			why   string
		}) bool {
			return f.room == room
		})
		if i < 0 {
			t.Errorf("%s is not in the table", room)
			continue
		}
		f := floors[i]
		for _, imp := range p.Imports {
			local, isLocal := strings.CutPrefix(imp, module)
			if slices.Contains(f.never, imp) {
				t.Errorf("%s must not import %s: %s", room, imp, f.why)
			}
			if !isLocal && !strings.Contains(strings.Split(imp, "/")[0], ".") {
				continue // standard library
			}
			if !slices.ContainsFunc(f.may, func(may string) bool {
				if isLocal {
					return local == may
				}
				return imp == may || strings.HasPrefix(imp, may+"/")
			}) {
				t.Errorf("%s must not import %s: %s", room, imp, f.why)
			}
		}
		for _, dep := range p.Deps {
			if room == "cmd/kmsfs" && (isIn(module+"kms/emulator", dep) || strings.HasPrefix(dep, "go.etcd.io/") || dep == module+"kms/aliyun/cloudtest" || dep == "testing") {
				t.Errorf("%s links %s", room, dep)
			}
			if room == "fs" && (strings.Contains(dep, "aliyun") || dep == "net/http") {
				t.Errorf("fs reaches %s", dep)
			}
		}
	}
	if len(rooms) != len(floors) {
		t.Errorf("the table has %d rooms, the house %d: %v", len(floors), len(rooms), rooms)
	}
}

// A room has few files, and a file of fs a name that no other room of fs and no
// command has, so that the name alone says which it is. A line of the product fits
// beside another one.
func TestRoomsAreSmall(t *testing.T) {
	rooms := map[string]string{} // of fs and cmd, by the name of a file
	for _, p := range listPackages(t) {
		room := strings.TrimPrefix(p.ImportPath, module)
		if strings.HasPrefix(room, "integration") {
			continue
		}
		if len(p.GoFiles) > 20 {
			t.Errorf("%s has %d files", room, len(p.GoFiles))
		}
		for _, name := range p.GoFiles {
			if isIn("fs", room) || isIn("cmd", room) {
				if other, ok := rooms[name]; ok && (isIn("fs", room) || isIn("fs", other)) {
					t.Errorf("%s and %s have a file %s each", other, room, name)
				}
				rooms[name] = room
			}
			for i, line := range strings.Split(harness.Read(t, filepath.Join("..", room, name)), "\n") {
				if len(line) > 140 {
					t.Errorf("%s/%s:%d has %d bytes", room, name, i+1, len(line))
				}
			}
		}
	}
}

func isIn(house, room string) bool { return room == house || strings.HasPrefix(room, house+"/") }

// Only main.go ends the process.
func TestOnlyMainExits(t *testing.T) {
	found := 0
	for _, pattern := range []string{"../*/*.go", "../*/*/*.go", "../*/*/*/*.go"} {
		paths, err := filepath.Glob(pattern)
		if err != nil || len(paths) == 0 {
			t.Fatalf("%s matches nothing (%v)", pattern, err)
		}
		for _, p := range paths {
			if strings.HasSuffix(p, "_test.go") || strings.Contains(p, "/integration/") {
				continue
			}
			text := harness.Read(t, p)
			if filepath.Base(p) == "main.go" {
				found += strings.Count(text, "os.Exit(")
				continue
			}
			for _, exit := range []string{"os.Exit(", "log.Fatal", "syscall.Exit(", "unix.Exit("} {
				if strings.Contains(text, exit) {
					t.Errorf("%s has %s", p, exit)
				}
			}
		}
	}
	if found != 2 {
		t.Errorf("%d calls of os.Exit in the main.go files, want one each", found)
	}
}

// One reachable use of reflection by name makes the linker keep every method
// of the SDK (libraries that do it are not worth 6 MB).
func TestBinaryIsSmall(t *testing.T) {
	text := harness.Read(t, filepath.Join(harness.BinDir, "kmsfs"))
	if strings.Contains(text, "reflect.Value.MethodByName") {
		t.Error("the program can call methods by name")
	}
	if len(text) > 12<<20 {
		t.Errorf("the program has %d bytes", len(text))
	}
	if strings.Contains(text, "TEST ONLY") && strings.Contains(text, "kms/emulator") {
		t.Error("the program links the emulator")
	}
}
