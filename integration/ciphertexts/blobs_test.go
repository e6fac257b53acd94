package ciphertexts_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
	"unicode/utf16"

	"github.com/kmsfs/kmsfs/integration/harness"
	"github.com/kmsfs/kmsfs/integration/lab"
)

// longKey makes a second key, whose version ids have 37 characters, and returns
// its id.
func longKey(t *testing.T, l *lab.Lab) string {
	t.Helper()
	id := harness.OtherKey(t, l)
	if !strings.HasPrefix(id, "key-p") || len(id) != 26 {
		t.Fatalf("the key is %s", id)
	}
	return id
}

// A key version id that may be longer than 36 characters leaves the size of its
// files open until an answer has named it: a listing costs nothing, the first
// stat one call, and then all files of that version have sizes. What guards
// files does so with such keys, too.
func TestSizeOfALongKeyIDIsLearnedByOneCall(t *testing.T) {
	harness.EachMode(t, func(t *testing.T, mode string) {
		l, short := harness.NewLabGeneration3(t)
		key := longKey(t, l)
		source := t.TempDir()
		for _, name := range []string{"a", "bb", "ccc"} {
			harness.Put(t, filepath.Join(source, name+".cipher"), harness.SealWith(t, l, name, "--key", key))
		}
		harness.Put(t, filepath.Join(source, "short.cipher"), harness.Seal(t, l, "short"))
		m := harness.Mount(t, l, source, mode, "ttl=1h", "keys="+key+";"+short)
		if n := harness.Cost(t, l, func() {
			if out, err := exec.Command("ls", m.Point).Output(); err != nil || string(out) != "a\nbb\nccc\nshort\n" {
				t.Errorf("ls: %q, %v", out, err)
			}
		}); n != 0 {
			t.Errorf("a listing took %d calls", n)
		}
		if n := harness.Cost(t, l, func() {
			for _, name := range []string{"a", "bb", "ccc", "short", "a"} {
				st, err := os.Stat(m.Path(name))
				if err != nil || st.Size() != int64(len(name)) {
					t.Fatalf("%s: %v, %v", name, st, err)
				}
			}
		}); n != 1 {
			t.Errorf("sizes took %d calls, want 1", n)
		}
		if n := harness.Cost(t, l, func() {
			for _, name := range []string{"a", "bb", "ccc", "a"} {
				if got := harness.Read(t, m.Path(name)); got != name {
					t.Errorf("%s reads %q", name, got)
				}
			}
		}); n != 2 {
			t.Errorf("reads took %d calls, want 2", n)
		}
		m.WaitLog(t, "path=ccc.cipher", "result=ok", "key_version="+key)
		if _, err := l.Kmsfs(nil, "disable-key", key); err != nil {
			t.Fatal(err)
		}
		harness.Put(t, m.InSource("late.cipher"), harness.SealWith(t, l, "late", "--key", short))
		harness.Put(t, m.InSource("ccc.cipher"), harness.Read(t, m.InSource("bb.cipher"))) // that one is asked for once more
		harness.Flush(t, l, m.Point, "a")
		if b, err := os.ReadFile(m.Path("a")); !errors.Is(err, syscall.EKEYREVOKED) {
			t.Errorf("a: %q, %v", b, err)
		}
		harness.Eventually(t, "bb is gone with its key version", func() bool { // open=fast: when its pages are
			_, err := os.ReadFile(m.Path("bb"))
			return errors.Is(err, syscall.EKEYREVOKED)
		})
		if got := harness.Read(t, m.Path("late")); got != "late" {
			t.Errorf("a file of the other key reads %q", got)
		}
	})
}

// Names and contexts bind files of such keys, and keys= keeps them out.
func TestLongKeyIDsAreBoundAndAllowed(t *testing.T) {
	l, short := harness.NewLabGeneration3(t)
	key := longKey(t, l)
	source := t.TempDir()
	if _, err := l.Kmsfs(strings.NewReader("bound"), "encrypt", "--key", key, "--bind", "name", "--source", source, "--output", source+"/a.cipher", "-"); err != nil {
		t.Fatal(err)
	}
	harness.Put(t, source+"/copy.cipher", harness.Read(t, source+"/a.cipher"))
	m := harness.Mount(t, l, source, "bind=name")
	if got := harness.Read(t, m.Path("a")); got != "bound" {
		t.Errorf("a reads %q", got)
	}
	if b, err := os.ReadFile(m.Path("copy")); !errors.Is(err, syscall.EBADMSG) {
		t.Errorf("a copy: %q, %v", b, err)
	}
	m = harness.Mount(t, l, "", "keys="+short)
	harness.Put(t, m.InSource("x.cipher"), harness.SealWith(t, l, "x", "--key", key))
	if b, err := os.ReadFile(m.Path("x")); !errors.Is(err, syscall.EACCES) {
		t.Errorf("of another key: %q, %v", b, err)
	}
	m = harness.Mount(t, l, "", "encoding=base64")
	harness.Put(t, m.InSource("x.cipher"), harness.SealWith(t, l, "x", "--key", key, "--encoding", "base64"))
	if got := harness.Read(t, m.Path("x")); got != "x" {
		t.Errorf("base64: %q", got)
	}
}

// answersWith makes Decrypt answer something of its own.
func answersWith(t *testing.T, l *lab.Lab, version, plaintext string) {
	t.Helper()
	b, err := json.Marshal(map[string]string{"KeyId": "key-foreign", "KeyVersionId": version, "Plaintext": plaintext, "RequestId": "raw-answer"})
	if err != nil {
		t.Fatal(err)
	}
	harness.Fault(t, l, map[string]any{"action": "Decrypt", "raw": string(b)})
}

// A blob in a layout that nobody knows yet is for the service to judge. Its
// size is learned once, and outlives the plaintext.
func TestUnknownLayoutIsLeftToTheService(t *testing.T) {
	harness.EachMode(t, func(t *testing.T, mode string) {
		l := harness.NewLab(t)
		m := harness.Mount(t, l, "", mode, "ttl=1h")
		raw := bytes.Repeat([]byte{0x24, 0x10, 0x02, 0xC3}, 40)
		harness.Put(t, m.InSource("new.cipher"), base64.StdEncoding.EncodeToString(raw)+"\n")
		if b, err := os.ReadFile(m.Path("new")); !errors.Is(err, syscall.EKEYREVOKED) { // as of another region
			t.Errorf("what the service does not know: %q, %v", b, err)
		}
		answersWith(t, l, "key-foreign-1", "secret")
		for _, want := range []int{1, 0} { // the size outlives the plaintext
			harness.Flush(t, l, m.Point) // and forgets failures
			if n := harness.Cost(t, l, func() {
				if st, err := os.Stat(m.Path("new")); err != nil || st.Size() != 6 {
					t.Errorf("%v, %v", st, err)
				}
			}); n != want {
				t.Errorf("a size took %d calls, want %d", n, want)
			}
		}
		if got := harness.Read(t, m.Path("new")); got != "secret" {
			t.Errorf("reads %q", got)
		}
		harness.Mend(t, l)
		answersWith(t, l, "key-foreign-1", strings.Repeat("x", 400)) // more than it can hold
		harness.Put(t, m.InSource("other.cipher"), base64.StdEncoding.EncodeToString(append(raw, 1)))
		if b, err := os.ReadFile(m.Path("other")); !errors.Is(err, syscall.EIO) {
			t.Errorf("more than it can hold: %.10q, %v", b, err)
		}
	})
}

// Where sizes are not in the files, a listing with sizes works all the same while
// the service is away or refuses: it shows those of the ciphertexts, and an open
// says what is the matter. A refusal is not asked for by every listing.
func TestListingWorksWithoutSizes(t *testing.T) {
	l, _ := harness.NewLabGeneration3(t)
	key := longKey(t, l)
	m := harness.Mount(t, l, "", "timeout=2s")
	const files = 12
	for i := range files {
		harness.Put(t, m.InSource("f"+harness.Itoa(i)+".cipher"), harness.SealWith(t, l, "secret", "--key", key))
	}
	list := func() []string {
		t.Helper()
		o := harness.RunCommand(t, exec.Command("ls", "-l", m.Point))
		lines := strings.Split(strings.TrimSpace(o.Stdout), "\n")
		if o.Code != 0 || len(lines) != files+1 {
			t.Fatalf("ls -l: %d, %s\n%s", o.Code, o.Stderr, o.Stdout)
		}
		return lines[1:]
	}
	size := func(line string) string { return strings.Fields(line)[4] }
	st, err := os.Stat(m.InSource("f0.cipher"))
	if err != nil {
		t.Fatal(err)
	}
	harness.Fault(t, l, map[string]any{"action": "Decrypt", "hang": true})
	begun := time.Now()
	for _, line := range list() {
		if size(line) != fmt.Sprint(st.Size()) {
			t.Errorf("in an outage: %s", line)
		}
	}
	if took := time.Since(begun); took > (3+1)*2*time.Second {
		t.Errorf("in an outage ls -l took %v", took)
	}
	harness.Mend(t, l)
	harness.Fault(t, l, map[string]any{"action": "Decrypt", "code": "Forbidden.NoPermission"})
	harness.Eventually(t, "the service answers", func() bool {
		_, err := os.ReadFile(m.Path("f0"))
		return errors.Is(err, syscall.EACCES)
	})
	if n := harness.Cost(t, l, func() { list() }); n > files {
		t.Errorf("a listing of what is refused took %d calls", n)
	}
	if n := harness.Cost(t, l, func() { list() }); n != 0 {
		t.Errorf("another one took %d calls", n)
	}
	harness.Mend(t, l)
	harness.Eventually(t, "f0 is served", func() bool { b, _ := os.ReadFile(m.Path("f0")); return string(b) == "secret" })
	if n := harness.Cost(t, l, func() {
		for _, line := range list() {
			if size(line) != "6" {
				t.Errorf("after an open: %s", line)
			}
		}
	}); n != 0 {
		t.Errorf("sizes of a known version took %d calls", n)
	}
}

// A change in a directory is not kept waiting by a stat in it that waits for
// the service, nor is anybody else there.
func TestSizeThatIsLearnedKeepsNobodyWaiting(t *testing.T) {
	harness.EachMode(t, func(t *testing.T, mode string) {
		l, _ := harness.NewLabGeneration3(t)
		m := harness.Mount(t, l, "", mode, "timeout=10s")
		harness.Put(t, m.InSource("long.cipher"), harness.SealWith(t, l, "long", "--key", longKey(t, l)))
		harness.Put(t, m.InSource("a.cipher"), harness.Seal(t, l, "a"))
		if got := harness.Read(t, m.Path("a")); got != "a" {
			t.Fatalf("a reads %q", got)
		}
		if _, err := os.ReadDir(m.Point); err != nil {
			t.Fatal(err)
		}
		harness.Fault(t, l, map[string]any{"action": "Decrypt", "hang": true})
		before := harness.Decrypts(t, l)
		learned := make(chan error, 1)
		go func() { _, err := os.Stat(m.Path("long")); learned <- err }()
		harness.Eventually(t, "a call for the size", func() bool { return harness.Decrypts(t, l) > before })
		begun := time.Now()
		for i := range 20 {
			harness.Put(t, m.InSource("b.cipher"), harness.Seal(t, l, fmt.Sprint("b", i)))
			if _, err := os.Stat(m.Path("a")); err != nil {
				t.Error(err)
			}
			if _, err := os.Stat(m.Path("b")); err != nil {
				t.Error(err)
			}
			if _, err := os.ReadDir(m.Point); err != nil {
				t.Error(err)
			}
		}
		select {
		case err := <-learned:
			t.Errorf("after %v the size was not waited for any more: %v", time.Since(begun), err)
		default:
		}
		harness.Mend(t, l)
		if err := <-learned; err != nil {
			t.Error(err)
		}
	})
}

// A migrated key may answer with another version than the ciphertext names.
// That is served, and said.
func TestAnswerOfAMigratedKeyIsServedAndSaid(t *testing.T) {
	harness.EachMode(t, func(t *testing.T, mode string) {
		l := harness.NewLab(t)
		m := harness.Mount(t, l, "", mode)
		harness.Put(t, m.InSource("moved.cipher"), harness.Seal(t, l, "secret"))
		const version = "key-hzz0migrated0example0-0123456789"
		answersWith(t, l, version, "secret")
		if got := harness.Read(t, m.Path("moved")); got != "secret" {
			t.Errorf("reads %q", got)
		}
		m.WaitLog(t, "level=WARN", "moved: the ciphertext names key version", "the service answered with "+version)
		if out, err := l.Kmsfs(nil, "status", m.Point); err != nil || strings.Count(out, "answered with "+version) != 1 {
			t.Errorf("status says %q, %v", out, err)
		}
		out, err := l.Kmsfs(nil, "verify", m.Source)
		if err != nil || strings.Count(out, "\n") != 1 || !strings.HasPrefix(out, "ok    moved.cipher") || strings.Count(out, version) != 2 || !strings.Contains(out, "names key version") {
			t.Errorf("verify says %q, %v", out, err)
		}
	})
}

func utf16le(text string) string {
	var b []byte
	for _, u := range utf16.Encode([]rune("\ufeff" + text)) {
		b = append(b, byte(u), byte(u>>8))
	}
	return string(b)
}

func wrapped(text string, width int, end string) string {
	var lines []string
	for ; len(text) > width; text = text[width:] {
		lines = append(lines, text[:width])
	}
	return strings.Join(append(lines, text), end) + end
}

// What editors and shells leave around one blob does no harm, to nobody who
// reads it.
func TestWhatEditorsLeaveDoesNoHarm(t *testing.T) {
	l, _ := harness.NewLabGeneration3(t)
	secret := strings.Repeat("0123456789", 20)
	blob := harness.Seal(t, l, secret)
	m := harness.Mount(t, l, "")
	shapes := map[string]string{
		"bare": blob, "lf": blob + "\n", "crlf": blob + "\r\n", "blanks": "  " + blob + " \n\n", "bom": "\ufeff" + blob + "\r\n", "utf16": utf16le(blob + "\r\n"),
		"quotes": `"` + blob + "\"\n", "apostrophes": "'" + blob + "'", "76": wrapped(blob, 76, "\n"), "76crlf": wrapped(blob, 76, "\r\n"), "64": wrapped(blob, 64, "\n"),
	}
	for name, content := range shapes {
		harness.Put(t, m.InSource(name+".cipher"), content)
	}
	if n := harness.Cost(t, l, func() {
		for name := range shapes {
			if st, err := os.Stat(m.Path(name)); err != nil || st.Size() != int64(len(secret)) {
				t.Errorf("%s: %v, %v", name, st, err)
			}
		}
	}); n != 0 {
		t.Errorf("sizes took %d calls", n)
	}
	if n := harness.Cost(t, l, func() {
		for name := range shapes {
			if b, err := os.ReadFile(m.Path(name)); err != nil || string(b) != secret {
				t.Errorf("%s: %q, %v", name, b, err)
			}
		}
	}); n != 1 {
		t.Errorf("one blob in %d files took %d calls", len(shapes), n)
	}
	for name := range shapes {
		if got, err := l.Kmsfs(nil, "decrypt", m.InSource(name+".cipher")); err != nil || got != secret {
			t.Errorf("decrypt %s: %q, %v", name, got, err)
		}
	}
	if out, err := l.Kmsfs(nil, "verify", m.Source); err != nil || strings.Count(out, "ok    ") != len(shapes) {
		t.Errorf("verify: %v\n%s", err, out)
	}
}

// Everything else in a file has one name: in the log of the mount, for decrypt
// and for verify. It costs no call. A key that was never encrypted is a warning.
func TestReasonIsTheSameEverywhere(t *testing.T) {
	l := harness.NewLab(t)
	blob := harness.Seal(t, l, "secret with a long enough text in it")
	pem, err := harness.Run("openssl", "genpkey", "-algorithm", "ed25519")
	if err != nil {
		t.Fatal(err)
	}
	m := harness.Mount(t, l, "")
	files := map[string]string{
		"json": `{"CiphertextBlob":"` + blob + `","KeyId":"k","RequestId":"r"}`, "table": "CiphertextBlob\n----\n" + blob, "comma": `"` + blob + `",`,
		"html": "<html></html>", "lfs": "version https://git-lfs.github.com/spec/v1\n", "age": "age-encryption.org/v1\n", "two": blob + "\n" + blob, "null": "null\n",
		"nul": blob + "\x00", "nbsp": blob + "\u00a0", "url": strings.ReplaceAll(blob, "=", "%3D") + "%2B", "empty": "", "long": strings.Repeat("A", 70_000), "pem": pem,
		"pem64": base64.StdEncoding.EncodeToString([]byte(pem)), "lines": blob + "\nAAAAAAAAAAAAAAAA\nMTIzNDU2Nzg5MDEyMzQ1Njc4OTA=",
	}
	for name, content := range files {
		harness.Put(t, m.InSource(name+".cipher"), content)
	}
	var verified string
	if n := harness.Cost(t, l, func() { verified = harness.RunCommand(t, l.Command("verify", m.Source)).Stdout }); n != 0 {
		t.Errorf("verify took %d calls", n)
	}
	if o := harness.RunCommand(t, l.Command("verify", m.Source)); !strings.Contains(o.Stderr, "warning: verify ") || !strings.Contains(o.Stderr, ": 2 of them hold a secret that was never encrypted") {
		t.Errorf("verify warns: %s", o.Stderr)
	}
	said := map[string]bool{}
	for name := range files {
		_, reason, _ := strings.Cut(verified, "FAIL  "+name+".cipher  ")
		reason, _, _ = strings.Cut(reason, "\n")
		if !strings.HasPrefix(reason, "not a ciphertext: ") || said[reason] {
			t.Errorf("verify says of %s: %q", name, reason)
		}
		said[reason] = true
		if b, err := os.ReadFile(m.Path(name)); !errors.Is(err, syscall.EBADMSG) {
			t.Errorf("%s: %q, %v", name, b, err)
		}
		line := m.WaitLog(t, "msg=open", "path="+name+".cipher")
		if !strings.Contains(strings.ReplaceAll(line, `\\`, `\`), reason) {
			t.Errorf("the log says %s\nverify %s", line, reason)
		}
		o := harness.RunCommand(t, l.Command("decrypt", m.InSource(name+".cipher")))
		if o.Code != 1 || !strings.Contains(o.Stderr, ": "+reason+"\n") || !strings.Contains(o.Stderr, "hint: ") {
			t.Errorf("decrypt %s: %s\nverify %s", name, o.Stderr, reason)
		}
	}
	for _, name := range []string{"pem", "pem64"} {
		m.WaitLog(t, "level=WARN", "msg=\""+name+": ", "an open key lies on the disk")
	}
	if out, err := l.Kmsfs(nil, "status", m.Point); err != nil || strings.Count(out, "an open key lies on the disk") != 1 {
		t.Errorf("status: %v\n%s", err, out)
	}
	if strings.Contains(m.Log()+verified, strings.Split(pem, "\n")[1]) {
		t.Error("the key is in the log")
	}
}
