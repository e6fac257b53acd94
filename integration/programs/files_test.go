package programs_test

import (
	"bytes"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/kmsfs/kmsfs/integration/harness"
)

// programFiles are the files that the programs run on, next to keys and
// certificates, which are made anew each time.
var programFiles = map[string]string{
	"app.conf":      "# settings\nlisten = 127.0.0.1:8080\n\n[database]\n\thost = db.internal\n\tpassword = p@ss w0rd!\n\ttimeout = 30\n",
	"app.new":       "# settings\nlisten = 127.0.0.1:9090\n\n[database]\n\thost = db.internal\n\tpassword = p@ss w0rd!\n",
	"app.env":       "DB_USER=app\nDB_PASSWORD='p@ss w0rd!'\nTOKEN=abc=def\n",
	"app.json":      `{"user": "app", "password": "p@ss \"w0rd\"", "list": [1, 2, {"deep": "秘密"}]}` + "\n",
	"app.ini":       "[database]\n\tuser = app\n\tpassword = \"p@ss w0rd!\"\n",
	"words":         "pear\napple\nfig\napple\nquince\npear\n",
	"sorted":        "apple 1\nfig 2\npear 3\n",
	"utf8":          "秘密鍵\nÄÖÜ ß\n",
	"crlf":          "one\r\ntwo\r\n",
	"blank":         "\n",
	"no newline":    "the last line ends here",
	"page":          harness.Lengthy("page", 4096),
	"longest":       harness.Lengthy("longest", 6144),
	"lib.sh":        "# to be sourced\ngreeting='hello from the library'\ngreet() { echo \"$greeting, ${1:-nobody}\"; }\ncase $0 in *lib.sh) greet script ;; esac\n",
	"lib.pl":        "our %config = (user => 'app', password => 'p@ss w0rd!');\n1;\n",
	"lib.py":        "password = 'p@ss w0rd!'\n",
	"lib.js":        "module.exports = {password: 'p@ss w0rd!'};\n",
	"main.mk":       "include vars.mk\nall: ; @echo '$(TOKEN)' $(words $(LIST))\n",
	"vars.mk":       "TOKEN = abc=def\nLIST = a b \\\n  c\n",
	"nginx.inc":     "add_header X-Secret \"from the mount\" always;\nlocation = /included { return 200 \"included\\n\"; }\n",
	"netrc":         "machine localhost login app password p4ss\n",
	"curlrc":        "silent\nuser-agent = \"kmsfs\"\noutput = \"-\"\n",
	"passphrase":    "correct horse battery staple\n",
	"sub/app.conf":  "password = another\n",
	"sub/deep/file": "deep\n",
}

// newWorkbench fills a tmpfs and the source of a mount with the same files,
// owners, modes and times, and builds the probe.
func newWorkbench(t *testing.T, options ...string) workbench {
	t.Helper()
	l := harness.NewLab(t)
	w := workbench{plain: ramdisk(t), out: ramdisk(t)}
	for name, content := range programFiles {
		write(t, w.plain, name, content)
	}
	makeKeys(t, w.plain)

	source := t.TempDir()
	then := time.Date(2020, 1, 2, 3, 4, 5, 123456789, time.UTC)
	eachBelow(t, w.plain, func(name string, e fs.DirEntry) {
		plain, mode, copied := filepath.Join(w.plain, name), os.FileMode(0o500), filepath.Join(source, name)
		if !e.IsDir() {
			mode, copied = 0o400, copied+".cipher"
			if err := os.MkdirAll(filepath.Dir(copied), 0o700); err != nil {
				t.Fatal(err)
			}
			harness.Put(t, copied, harness.Seal(t, l, harness.Read(t, plain)))
		}
		if err := os.Chmod(plain, mode); err != nil {
			t.Fatal(err)
		}
		for _, path := range []string{plain, copied} {
			if err := os.Chtimes(path, then, then); err != nil {
				t.Fatal(err)
			}
		}
	})
	w.mounted = harness.Mount(t, l, source, options...).Point
	if err := unix.Mount("", w.plain, "", unix.MS_REMOUNT|unix.MS_RDONLY|unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, ""); err != nil {
		t.Fatal(err)
	}

	w.env = []string{"H=" + harness.Repository("integration/programs"), "P=" + harness.Built(t, "integration/programs/probe"), "PATH=" + os.Getenv("PATH") + ":/usr/sbin:/sbin", "LC_ALL=C", "TZ=UTC",
		"GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_NOSYSTEM=1", "PYTHONDONTWRITEBYTECODE=1", "NODE_NO_WARNINGS=1"}
	return w
}

// eachBelow calls a function for all below a directory and the directory
// itself, which is ".", a directory after what it holds.
func eachBelow(t *testing.T, dir string, do func(name string, e fs.DirEntry)) {
	t.Helper()
	var dirs []func()
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, _ := filepath.Rel(dir, path)
		if e.IsDir() {
			dirs = append(dirs, func() { do(name, e) })
			return nil
		}
		do(name, e)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for i := range dirs {
		dirs[len(dirs)-1-i]()
	}
}

func write(t *testing.T, dir, name, content string) {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

// makeKeys makes the private keys and the certificate of the run in memory or
// on the tmpfs.
func makeKeys(t *testing.T, dir string) {
	t.Helper()
	generate := func(stdin string, args ...string) string {
		t.Helper()
		cmd := exec.Command(args[0], args[1:]...)
		cmd.Stdin = strings.NewReader(stdin)
		var stderr bytes.Buffer
		cmd.Stderr = &stderr
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("%q: %v\n%s", args, err, &stderr)
		}
		return string(out)
	}
	key := generate("", "openssl", "genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048")
	write(t, dir, "key.pem", key)
	write(t, dir, "cert.pem", generate(key, "openssl", "req", "-x509", "-new", "-key", "/dev/stdin", "-subj", "/CN=localhost",
		"-addext", "subjectAltName=DNS:localhost", "-days", "2"))
	write(t, dir, "ec.pem", generate("", "openssl", "genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"))
	generate("", "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "test", "-f", filepath.Join(dir, "id_ed25519"))
}
