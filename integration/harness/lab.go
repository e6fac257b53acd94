package harness

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/kmsfs/kmsfs/integration/clients"
	"github.com/kmsfs/kmsfs/integration/lab"
)

// NewLab starts an emulator with a key.
func NewLab(t testing.TB, args ...string) *lab.Lab {
	t.Helper()
	return NewLabIn(t, "", args...)
}

// NewLabIn is NewLab in another network namespace.
func NewLabIn(t testing.TB, network string, args ...string) *lab.Lab {
	t.Helper()
	l, err := lab.StartIn(network, BinDir, t.TempDir(), args...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Stop(); err != nil {
			t.Error(err)
		}
	})
	if _, err := l.CreateKey(); err != nil {
		t.Fatal(err)
	}
	return l
}

// NewLabGeneration3 is a lab whose one key has the shorter id: its version ids have
// 36 characters.
func NewLabGeneration3(t *testing.T, args ...string) (l *lab.Lab, keyID string) {
	t.Helper()
	l = NewLab(t, append(args, "--generation", "3")...)
	out, err := l.Kmsfs(nil, "describe-key", lab.Alias)
	if err != nil {
		t.Fatal(err)
	}
	var answer struct{ KeyMetadata struct{ KeyId string } }
	if err := json.Unmarshal([]byte(out), &answer); err != nil {
		t.Fatal(err)
	}
	keyID = answer.KeyMetadata.KeyId
	if !strings.HasPrefix(keyID, "key-hzz") || len(keyID) != 25 {
		t.Fatalf("the key is %s", keyID)
	}
	return l, keyID
}

// KeyOfAlias is the id of the key that NewLab has made.
func KeyOfAlias(t testing.TB, l *lab.Lab) string {
	t.Helper()
	out, err := l.Kmsfs(nil, "describe-key", lab.Alias)
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(out, `"KeyId": "`)
	id, _, ok := strings.Cut(rest, `"`)
	if !ok {
		t.Fatalf("no key id in %s", out)
	}
	return id
}

// OtherKey makes a second key and returns its id.
func OtherKey(t *testing.T, l *lab.Lab) string {
	t.Helper()
	out, err := l.Kmsfs(nil, "create-key")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, ok := strings.Cut(out, `"KeyId": "`)
	id, _, end := strings.Cut(rest, `"`)
	if !ok || !end {
		t.Fatalf("no key id in %s", out)
	}
	return id
}

// Seal encrypts with kmsfs encrypt and returns the ciphertext.
func Seal(t testing.TB, l *lab.Lab, plaintext string) string {
	t.Helper()
	blob, err := l.Kmsfs(strings.NewReader(plaintext), "encrypt", "--key", lab.Alias, "-")
	if err != nil {
		t.Fatal(err)
	}
	return blob
}

// SealWith encrypts with further arguments of kmsfs encrypt.
func SealWith(t *testing.T, l *lab.Lab, plaintext string, args ...string) string {
	t.Helper()
	blob, err := l.Kmsfs(strings.NewReader(plaintext), append(append([]string{"encrypt"}, args...), "-")...)
	if err != nil {
		t.Fatal(err)
	}
	return blob
}

// SealMany makes a source with files f00000, f00001, … and returns it.
func SealMany(t *testing.T, l *lab.Lab, files int, tag string) string {
	t.Helper()
	source, plain := t.TempDir(), t.TempDir()
	args := []string{"encrypt", "--key", lab.Alias}
	for i := range files {
		path := filepath.Join(plain, fmt.Sprintf("f%05d", i))
		Put(t, path, fmt.Sprint(tag, " ", i))
		args = append(args, path)
	}
	if _, err := l.Kmsfs(nil, args...); err != nil {
		t.Fatal(err)
	}
	sealed, err := filepath.Glob(plain + "/*.cipher")
	if err != nil || len(sealed) != files {
		t.Fatalf("%d files, %v", len(sealed), err)
	}
	for _, f := range sealed {
		if err := os.Rename(f, filepath.Join(source, filepath.Base(f))); err != nil {
			t.Fatal(err)
		}
	}
	return source
}

// Fault makes the key service misbehave, until it is mended.
func Fault(t testing.TB, l *lab.Lab, f map[string]any) {
	t.Helper()
	if err := l.Fault(f); err != nil {
		t.Fatal(err)
	}
}

// Mend ends all faults.
func Mend(t testing.TB, l *lab.Lab) {
	t.Helper()
	if err := l.ClearFaults(); err != nil {
		t.Fatal(err)
	}
}

// Decrypts is how many Decrypt calls the emulator has seen.
func Decrypts(t testing.TB, l *lab.Lab) int {
	t.Helper()
	calls, err := l.Calls()
	if err != nil {
		t.Fatal(err)
	}
	return calls["Decrypt"]
}

// TotalCalls is how many calls of any kind the emulator has seen.
func TotalCalls(t testing.TB, l *lab.Lab) int {
	t.Helper()
	calls, err := l.Calls()
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, c := range calls {
		n += c
	}
	return n
}

// Cost is how many calls the service sees during f.
func Cost(t testing.TB, l *lab.Lab, f func()) int {
	t.Helper()
	before := Decrypts(t, l)
	f()
	return Decrypts(t, l) - before
}

// Flush flushes when the rate allows it, and returns what was printed.
func Flush(t testing.TB, l *lab.Lab, args ...string) string {
	t.Helper()
	out, err := TryFlush(t, l, args...)
	if err != nil {
		t.Fatalf("flush %q: %v\n%s", args, err, out)
	}
	return out
}

// TryFlush flushes when the rate allows it, and returns what was printed and
// whether it was done.
func TryFlush(t testing.TB, l *lab.Lab, args ...string) (out string, err error) {
	t.Helper()
	Eventually(t, "the rate allows a flush", func() bool {
		var b []byte
		b, err = l.Command(append([]string{"flush"}, args...)...).CombinedOutput()
		out = string(b)
		return err == nil || !strings.Contains(out, "too many flushes")
	})
	return out, err
}

// AccessKey is the access key that the emulator knows.
func AccessKey(l *lab.Lab) (id, secret string) {
	for _, kv := range l.Env() {
		switch k, v, _ := strings.Cut(kv, "="); k {
		case "ALIBABA_CLOUD_ACCESS_KEY_ID":
			id = v
		case "ALIBABA_CLOUD_ACCESS_KEY_SECRET":
			secret = v
		}
	}
	return id, secret
}

// ConfigJSON is a config.json with the given profiles, the first of which is
// the current one.
func ConfigJSON(t testing.TB, profiles ...map[string]string) string {
	t.Helper()
	b, err := json.Marshal(map[string]any{"current": profiles[0]["name"], "profiles": profiles})
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// Target is the emulator of a lab, for the owner of its permanent access key.
func Target(t *testing.T, l *lab.Lab) clients.Target {
	t.Helper()
	to := clients.Target{Endpoint: l.Endpoint, CAFile: l.CAFile, Home: t.TempDir()}
	for _, v := range l.Env() {
		switch name, value, _ := strings.Cut(v, "="); name {
		case "ALIBABA_CLOUD_ACCESS_KEY_ID":
			to.AccessKeyID = value
		case "ALIBABA_CLOUD_ACCESS_KEY_SECRET":
			to.AccessKeySecret = value
		}
	}
	return to
}

// Ask performs an action through a client, with parameters in pairs.
func Ask(t *testing.T, c clients.Client, action string, pairs ...string) clients.Answer {
	t.Helper()
	params := map[string]string{}
	for i := 0; i < len(pairs); i += 2 {
		params[pairs[i]] = pairs[i+1]
	}
	answer, err := c.Call(action, params)
	if err != nil {
		t.Fatalf("%s: %v", action, err)
	}
	if answer.Text("RequestId") == "" {
		t.Errorf("%s: no request id in %v", action, answer)
	}
	return answer
}

// Keys of generation 3 (KMS 3.0), with ids such as key-hzz62f1cb66fa42qo0exa.
