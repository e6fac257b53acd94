package blobs

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/kmsfs/kmsfs/kms"
)

// The museum holds blobs that the real service made (their keys are gone), and
// of keys of KMS 3.0 others in their form. It is never regenerated. A file is
// named LAYOUT-SIZE-ANYTHING.cipher.
func museum(t testing.TB) map[string][]byte {
	paths, err := filepath.Glob("testdata/museum/*.cipher")
	if err != nil || len(paths) == 0 {
		t.Fatalf("the museum of blobs is empty (%v)", err)
	}
	m := map[string][]byte{}
	for _, p := range paths {
		b, err := os.ReadFile(p)
		if err != nil {
			t.Fatal(err)
		}
		m[filepath.Base(p)] = b
	}
	return m
}

func TestRecogniseMuseum(t *testing.T) {
	want := map[string]kms.Blob{
		"nested-4-root.cipher":    {PlaintextSize: 4, KeyVersionID: "c8b74ea7-551a-4a53-a4c4-f2dbd86ec3ac"},
		"nested-6-digits.cipher":  {PlaintextSize: 6, KeyVersionID: "c8b74ea7-551a-4a53-a4c4-f2dbd86ec3ac"},
		"current-10-hello.cipher": {PlaintextSize: 10, KeyVersionID: "efb93103-9526-48e1-b931-961f548e01e4"},

		"current-8-kms3.cipher":               {PlaintextSize: 8, KeyVersionID: kms3},
		"current-8-kms3-letter-behind.cipher": {PlaintextSize: 8, KeyVersionID: kms3},
		"unknown-24-kms3-long.cipher":         {PlaintextSize: kms.UnknownSize},
	}
	found := museum(t)
	if len(found) != len(want) {
		t.Errorf("museum has %d files, the table %d", len(found), len(want))
	}
	for name, content := range found {
		w := want[name]
		w.Text = strings.TrimSpace(string(content))
		got, err := Of(content)
		if err != nil || got != w {
			t.Errorf("%s: got %+v, %v; want %+v", name, got, err, w)
		}
	}
}

const (
	version  = "c8b74ea7-551a-4a53-a4c4-f2dbd86ec3ac"
	kms3     = "key-bjj64c0ffee0example0a-k0m1s2f3s4"
	kms3Long = "key-phzz64c0ffee0example0a-k0m1s2f3s4"
)

func current(n int) string { return blobUnder(version, 0xA7, n) }

// blobUnder is a blob whose IV is made of one byte.
func blobUnder(version string, iv byte, n int) string {
	raw := append([]byte(version), bytes.Repeat([]byte{iv}, ivLen)...)
	return base64.StdEncoding.EncodeToString(append(raw, bytes.Repeat([]byte{0xA7}, n+tagLen)...))
}

func nested(n int) string {
	inner := append(bytes.Repeat([]byte{0xA7}, nestedRandom), make([]byte, nestedZeros)...)
	inner = append(inner, bytes.Repeat([]byte{0x5C}, n+tagLen)...)
	return base64.StdEncoding.EncodeToString([]byte(version + base64.StdEncoding.EncodeToString(inner)))
}

func TestRecogniseSizes(t *testing.T) {
	for _, n := range []int{0, 1, 2, 3, 15, 16, 17, 1704, kms.MaxPlaintext} {
		for layout, text := range map[string]string{"current": current(n), "nested": nested(n)} {
			for _, padded := range []string{text, text + "\n", "\r\n \t" + text + " \r\n\n"} {
				b, err := Of([]byte(padded))
				if err != nil || b.PlaintextSize != n || b.Text != text || b.KeyVersionID != version {
					t.Errorf("%s of %d bytes: %+v, %v", layout, n, b, err)
				}
			}
		}
	}
}

func TestRecogniseRefuses(t *testing.T) {
	good := current(40)
	for name, text := range map[string]string{
		"empty":             "",
		"white space":       " \n\t\r\n",
		"html":              "<html><body>502 Bad Gateway</body></html>",
		"pem":               "-----BEGIN RSA PRIVATE KEY-----",
		"cut":               good[:len(good)-3],
		"too short":         base64.StdEncoding.EncodeToString([]byte(version + "short")),
		"line break inside": good[:10] + "\n" + good[10:],
		"blank inside":      good[:10] + " " + good[10:],
		"url alphabet":      good[:8] + "-_" + good[10:],
		"trailing bits":     strings.TrimRight(current(41), "=")[:len(strings.TrimRight(current(41), "="))-1] + "/=",
		"nul":               good + "\x00",
		"too long":          strings.Repeat(" ", kms.MaxBlobFile) + good,
		"armored age":       "-----BEGIN AGE ENCRYPTED FILE-----\nYWdl\n-----END AGE ENCRYPTED FILE-----\n",
	} {
		if b, err := Of([]byte(text)); err == nil {
			t.Errorf("%s: accepted as %+v", name, b)
		} else if strings.Contains(err.Error(), version) || (len(text) > 20 && strings.Contains(err.Error(), text[:20])) {
			t.Errorf("%s: the error quotes the content: %v", name, err)
		}
	}
}

// A blob that is accepted is canonical: encoding what was decoded gives the
// same text, and parsing again gives the same blob.
func FuzzRecognise(f *testing.F) {
	for _, content := range museum(f) {
		f.Add(content)
	}
	f.Add([]byte(current(0)))
	f.Add([]byte(nested(17) + "\n"))
	f.Add([]byte("<html>"))
	f.Add([]byte(wrapped(current(300), 76, "\r\n")))
	f.Add(utf16Of(`"`+blobUnder(kms3, 0xA7, 5)+`"`, binary.LittleEndian, true))
	f.Add([]byte(blobUnder(kms3Long, 0xA7, 5)))
	f.Fuzz(func(t *testing.T, file []byte) {
		b, not := Of(file)
		if not != nil {
			return
		}
		raw, err := base64.StdEncoding.DecodeString(b.Text)
		if err != nil || base64.StdEncoding.EncodeToString(raw) != b.Text {
			t.Fatalf("not canonical: %q", b.Text)
		}
		if b.PlaintextSize == kms.UnknownSize && b.KeyVersionID != "" ||
			b.PlaintextSize != kms.UnknownSize && (b.PlaintextSize < 0 || b.PlaintextSize > len(file) || string(raw[:versionLen]) != b.KeyVersionID) {
			t.Fatalf("implausible: %+v", b)
		}
		again, not := Of([]byte(" " + b.Text + "\n"))
		if not != nil || again != b {
			t.Fatalf("%+v, %v; want %+v", again, not, b)
		}
	})
}

// A version id is whatever stands there, as long as it can be told from what
// follows. That of a longer key id cannot, until an answer has named it.
func TestVersionIDs(t *testing.T) {
	for name, c := range map[string]struct {
		version string
		iv      byte
		known   bool
	}{
		"UUID":                                {version, 0xA7, true},
		"UUID, a letter behind":               {version, 'a', true},
		"upper case":                          {strings.ToUpper(version), 'A', true},
		"KMS 3.0":                             {kms3, 0xA7, true},
		"KMS 3.0, a letter behind":            {kms3, 'a', true},
		"any 36 bytes":                        {"0123456789-abcdefghijklmnopqrstuvwxy", 'a', true},
		"longer key id, shorter end":          {"key-phzz64c0ffee0example0a-k0m1s2f3s", 0xA7, true},
		"the same, a letter behind":           {"key-phzz64c0ffee0example0a-k0m1s2f3s", 'a', false},
		"KMS 3.0, pay as you go":              {kms3Long, 0xA7, false},
		"the same, a letter behind it":        {kms3Long, 'a', false},
		"shorter":                             {"key-short-1", 0xA7, false},
		"KMS 3.0, shorter":                    {"key-bj64c0ffee0example0a-k0m1s2f3s4", 'a', false},
		"of another alphabet":                 {"key_bjj64c0ffee0example0a_k0m1s2f3s4", 0xA7, false},
		"one of an API that nobody knows yet": {"$\x10\x02key-bjj64c0ffee0example0a-k0m1s2f3", 0xA7, false},
	} {
		text := blobUnder(c.version, c.iv, 40)
		b, err := Of([]byte(text))
		want := kms.Blob{Text: text, PlaintextSize: kms.UnknownSize}
		if c.known {
			want = kms.Blob{Text: text, KeyVersionID: c.version, PlaintextSize: 40}
		}
		if err != nil || b != want {
			t.Errorf("%s: %+v, %v", name, b, err)
			continue
		}
		d := &kms.Decrypted{Plaintext: make([]byte, 40), Origin: kms.Origin{KeyVersionID: c.version}}
		if err := b.Check(d); err != nil || Moved(b, d.Origin) != "" {
			t.Errorf("%s: its own answer: %v, moved from %q", name, err, Moved(b, d.Origin))
		}
		if under, ok := Under(b, c.version); ok != !c.known || ok && (under.PlaintextSize != 40 || under.KeyVersionID != c.version || under.Text != text) {
			t.Errorf("%s: known under its version: %v, %+v", name, ok, under)
		}
		other := kms.Origin{KeyVersionID: "efb93103-9526-48e1-b931-961f548e01e4"}
		if _, ok := Under(b, other.KeyVersionID); ok {
			t.Errorf("%s: known under another version", name)
		}
		promised := (c.version + strings.Repeat(string(rune(c.iv)), 36))[:36]
		if !isVersionID([]byte(promised)) {
			promised = ""
		}
		if from := Moved(b, other); from != promised {
			t.Errorf("%s: moved from %q, want %q", name, from, promised)
		}
		if err := b.Check(&kms.Decrypted{Plaintext: make([]byte, 200)}); !errors.Is(err, kms.ErrBadAnswer) {
			t.Errorf("%s: more than it can hold: %v", name, err)
		}
	}
}

// A file that names its key version has the size of its secret, others have it
// once an answer has named the version: of several that it may begin with, the
// longest one. What is no ciphertext stays that.
func TestCiphertextUnderAKnownVersion(t *testing.T) {
	among := func(ids ...string) func(string) bool {
		return func(id string) bool { return slices.Contains(ids, id) }
	}
	named := Recogniser{}.Recognise([]byte(current(40)))
	if named.Size(kms.Raw) != 40 || named.KeyVersion() != version || named.Under(among("")) != named {
		t.Errorf("%d bytes under %q", named.Size(kms.Raw), named.KeyVersion())
	}
	open := Recogniser{}.Recognise([]byte(blobUnder(kms3Long, 0xA7, 40)))
	if open.Size(kms.Raw) != kms.UnknownSize || open.KeyVersion() != "" || open.Under(among(version)) != open {
		t.Errorf("%d bytes under %q", open.Size(kms.Raw), open.KeyVersion())
	}
	if under := open.Under(among(kms3Long[:20], kms3Long, version)); under.Size(kms.Raw) != 40 || under.KeyVersion() != kms3Long {
		t.Errorf("%d bytes under %q", under.Size(kms.Raw), under.KeyVersion())
	}
	not := Recogniser{}.Recognise([]byte("<html>"))
	if not.Refusal() == nil || not.Under(among("")) != not {
		t.Errorf("%+v", not)
	}
}
