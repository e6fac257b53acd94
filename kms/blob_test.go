package kms

import (
	"bytes"
	"encoding/base64"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// The museum holds blobs that the real service made (their keys are gone) and
// is never regenerated. A file is named LAYOUT-SIZE-ANYTHING.cipher.
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

func TestParseBlobMuseum(t *testing.T) {
	want := map[string]Blob{
		"nested-4-root.cipher":    {Layout: LayoutNested, PlaintextSize: 4, KeyVersionID: "c8b74ea7-551a-4a53-a4c4-f2dbd86ec3ac"},
		"nested-6-digits.cipher":  {Layout: LayoutNested, PlaintextSize: 6, KeyVersionID: "c8b74ea7-551a-4a53-a4c4-f2dbd86ec3ac"},
		"current-10-hello.cipher": {Layout: LayoutCurrent, PlaintextSize: 10, KeyVersionID: "efb93103-9526-48e1-b931-961f548e01e4"},
	}
	found := museum(t)
	if len(found) != len(want) {
		t.Errorf("museum has %d files, the table %d", len(found), len(want))
	}
	for name, content := range found {
		w := want[name]
		w.Text = strings.TrimSpace(string(content))
		got, err := ParseBlob(content)
		if err != nil || got != w {
			t.Errorf("%s: got %+v, %v; want %+v", name, got, err, w)
		}
	}
}

const version = "c8b74ea7-551a-4a53-a4c4-f2dbd86ec3ac"

func current(n int) string {
	return base64.StdEncoding.EncodeToString(append([]byte(version), bytes.Repeat([]byte{0xA7}, ivLen+n+tagLen)...))
}

func nested(n int) string {
	inner := append(bytes.Repeat([]byte{0xA7}, nestedRandom), make([]byte, nestedZeros)...)
	inner = append(inner, bytes.Repeat([]byte{0x5C}, n+tagLen)...)
	return base64.StdEncoding.EncodeToString([]byte(version + base64.StdEncoding.EncodeToString(inner)))
}

func TestParseBlobSizes(t *testing.T) {
	for _, n := range []int{0, 1, 2, 3, 15, 16, 17, 1704, MaxPlaintext} {
		for layout, text := range map[Layout]string{LayoutCurrent: current(n), LayoutNested: nested(n)} {
			for _, padded := range []string{text, text + "\n", "\r\n \t" + text + " \r\n\n"} {
				b, err := ParseBlob([]byte(padded))
				if err != nil || b.PlaintextSize != n || b.Layout != layout || b.Text != text || b.KeyVersionID != version {
					t.Errorf("%v of %d bytes: %+v, %v", layout, n, b, err)
				}
			}
		}
	}
}

func TestParseBlobRefuses(t *testing.T) {
	good := current(40)
	for name, text := range map[string]string{
		"empty":             "",
		"white space":       " \n\t\r\n",
		"html":              "<html><body>502 Bad Gateway</body></html>",
		"pem":               "-----BEGIN RSA PRIVATE KEY-----",
		"json":              `{"CiphertextBlob":"` + good + `"}`,
		"quoted":            `"` + good + `"`,
		"cut":               good[:len(good)-3],
		"too short":         base64.StdEncoding.EncodeToString([]byte(version + "short")),
		"no version":        base64.StdEncoding.EncodeToString(bytes.Repeat([]byte("x"), 100)),
		"line break inside": good[:10] + "\n" + good[10:],
		"blank inside":      good[:10] + " " + good[10:],
		"two blobs":         good + "\n" + good,
		"url alphabet":      good[:8] + "-_" + good[10:],
		"trailing bits":     strings.TrimRight(current(41), "=")[:len(strings.TrimRight(current(41), "="))-1] + "/=",
		"nul":               good + "\x00",
		"too long":          strings.Repeat(" ", MaxBlobFile) + good,
		"armored age":       "-----BEGIN AGE ENCRYPTED FILE-----\nYWdl\n-----END AGE ENCRYPTED FILE-----\n",
	} {
		if b, err := ParseBlob([]byte(text)); err == nil {
			t.Errorf("%s: accepted as %+v", name, b)
		} else if strings.Contains(err.Error(), version) || (len(text) > 20 && strings.Contains(err.Error(), text[:20])) {
			t.Errorf("%s: the error quotes the content: %v", name, err)
		}
	}
}

func TestCheck(t *testing.T) {
	b, err := ParseBlob([]byte(current(5)))
	if err != nil {
		t.Fatal(err)
	}
	ok := func() *Decrypted {
		return &Decrypted{Plaintext: []byte("12345"), Origin: Origin{KeyID: "k", KeyVersionID: version, RequestID: "r"}}
	}
	if err := b.Check(ok()); err != nil {
		t.Errorf("the right answer: %v", err)
	}
	for name, spoil := range map[string]func(*Decrypted){
		"longer":        func(d *Decrypted) { d.Plaintext = append(d.Plaintext, 'x') },
		"shorter":       func(d *Decrypted) { d.Plaintext = d.Plaintext[:4] },
		"empty":         func(d *Decrypted) { d.Plaintext = nil },
		"other version": func(d *Decrypted) { d.KeyVersionID = "efb93103-9526-48e1-b931-961f548e01e4" },
		"no version":    func(d *Decrypted) { d.KeyVersionID = "" },
	} {
		d := ok()
		spoil(d)
		if err := b.Check(d); !errors.Is(err, ErrBadAnswer) {
			t.Errorf("%s: %v, want ErrBadAnswer", name, err)
		}
	}
}

func TestWipe(t *testing.T) {
	p := []byte("secret")
	(&Decrypted{Plaintext: p}).Wipe()
	if !bytes.Equal(p, make([]byte, 6)) {
		t.Errorf("still there: %q", p)
	}
}

// A blob that is accepted is canonical: encoding what was decoded gives the
// same text, and parsing again gives the same blob.
func FuzzParseBlob(f *testing.F) {
	for _, content := range museum(f) {
		f.Add(content)
	}
	f.Add([]byte(current(0)))
	f.Add([]byte(nested(17) + "\n"))
	f.Add([]byte("<html>"))
	f.Fuzz(func(t *testing.T, file []byte) {
		b, err := ParseBlob(file)
		if err != nil {
			return
		}
		raw, err := base64.StdEncoding.DecodeString(b.Text)
		if err != nil || base64.StdEncoding.EncodeToString(raw) != b.Text {
			t.Fatalf("not canonical: %q", b.Text)
		}
		if b.PlaintextSize < 0 || b.PlaintextSize > len(file) || string(raw[:versionLen]) != b.KeyVersionID {
			t.Fatalf("implausible: %+v", b)
		}
		again, err := ParseBlob([]byte(" " + b.Text + "\n"))
		if err != nil || again != b {
			t.Fatalf("%+v, %v; want %+v", again, err, b)
		}
	})
}
