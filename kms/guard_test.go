package kms

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestParseContext(t *testing.T) {
	got, err := ParseContext("app=web;path=a=b;empty=")
	if err != nil || len(got) != 3 || got["app"] != "web" || got["path"] != "a=b" || got["empty"] != "" {
		t.Errorf("%v, %v", got, err)
	}
	for _, bad := range []string{"", "x", "=x", "a=b;", "a=b;;c=d", "a=b;a=c", "kmsfs=kek/v1", "kmsfs-name=x", "KMSFS=x", "a=\xff", "a=" + strings.Repeat("x", MaxContext)} {
		if ec, err := ParseContext(bad); err == nil {
			t.Errorf("%.40q: accepted as %.40v", bad, ec)
		}
	}
}

func TestBind(t *testing.T) {
	ec := EncryptionContext{"app": "web"}
	bound, err := ec.Bind("certs/key.pem")
	if err != nil || len(bound) != 2 || bound[NameKey] != "certs/key.pem" || len(ec) != 1 {
		t.Errorf("%v, %v; the original is %v", bound, err, ec)
	}
	if bound, err := EncryptionContext(nil).Bind("x"); err != nil || len(bound) != 1 {
		t.Errorf("%v, %v", bound, err)
	}
	if _, err := ec.Bind("\xff"); err == nil {
		t.Error("a name that is no text was bound")
	}
}

func TestEncoding(t *testing.T) {
	text := []byte("plain text")
	if got, err := Raw.Decode(text); err != nil || &got[0] != &text[0] {
		t.Error("raw is not what it was")
	}
	for in, want := range map[string]string{"c2VjcmV0": "secret", "c2VjcmV0\n": "secret", "c2VjcmV0\r\n": "secret", "": "", "\n": "", "AP8=": "\x00\xff",
		"c2Vj\ncmV0": "secret", "c2Vj\r\ncmV0\r\n": "secret", "c2Vjc\nmV0\n": "secret"} {
		b := []byte(in)
		got, err := Base64.Decode(b)
		if err != nil || string(got) != want {
			t.Errorf("%q: %q, %v", in, got, err)
		}
		if !bytes.Equal(b, make([]byte, len(b))) {
			t.Errorf("%q was not wiped", in)
		}
	}
	for _, bad := range []string{"c2VjcmV0\n\n", " c2VjcmV0", "c2Vj\n\ncmV0", "c2V\njcmV0", "c2Vj cmV0", "c2VjcmV", "AP9=", "AP8", "secret!", "_-__"} {
		if got, err := Base64.Decode([]byte(bad)); !errors.Is(err, ErrBadCiphertext) {
			t.Errorf("%q: %q, %v", bad, got, err)
		}
	}
	longest := bytes.Repeat([]byte{0xff}, Base64.MaxSecret())
	if n := len(Base64.Encode(longest)); n != MaxPlaintext {
		t.Errorf("the longest secret has %d characters", n)
	}
}

func FuzzEncoding(f *testing.F) {
	f.Add([]byte("c2VjcmV0\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		in := string(text)
		got, err := Base64.Decode(text)
		if err != nil {
			return
		}
		line := strings.NewReplacer("\r\n", "", "\n", "").Replace(in)
		if base64.StdEncoding.EncodeToString(got) != line {
			t.Fatalf("%q decodes to %q", in, got)
		}
	})
}

// What a file is that encoding=base64 does not decode is said, and nothing of it.
func TestEncodingSaysWhy(t *testing.T) {
	for text, says := range map[string]string{
		"-----BEGIN PRIVATE KEY-----\nMC4C": "it is a PEM itself",
		"c2Vj\ncmV0c2Vj":                    "equally long",
		"c2Vj cmV0":                         "a blank",
		"_-__":                              "base64url",
		"c2VjcmV":                           "padding",
		"secret!":                           "not base64",
	} {
		_, err := Base64.Decode([]byte(text))
		if err == nil || !strings.Contains(err.Error(), says) || strings.Contains(err.Error(), "c2Vj") || strings.Contains(err.Error(), "secret!") {
			t.Errorf("%q: %v", text, err)
		}
	}
}

// Auto decodes a PEM, and nothing else.
func TestAutoEncoding(t *testing.T) {
	const pem = "-----BEGIN PRIVATE KEY-----\nMC4C\n-----END PRIVATE KEY-----\n"
	in64 := base64.StdEncoding.EncodeToString([]byte(pem))
	for in, want := range map[string]string{
		pem: pem, in64: pem, in64 + "\n": pem, in64[:40] + "\n" + in64[40:80] + "\n" + in64[80:]: pem,
		"root": "root", "cm9vdA==": "cm9vdA==", "": "", " " + in64: " " + in64, in64 + "\n\n": in64 + "\n\n", in64[:len(in64)-1]: in64[:len(in64)-1],
	} {
		if got, err := Auto.Decode([]byte(in)); err != nil || string(got) != want {
			t.Errorf("%q: %q, %v", in, got, err)
		}
		if base64OfPEM([]byte(in)) != (in != want) {
			t.Errorf("%q is noticed: %v", in, in == want)
		}
	}
}

// answering is a Decrypter that always answers with one key.
type answering struct {
	keyID string
	last  *Decrypted
}

func (a *answering) Decrypt(context.Context, Blob, EncryptionContext) (*Decrypted, error) {
	a.last = &Decrypted{Plaintext: []byte("secret"), Origin: Origin{KeyID: a.keyID, RequestID: "r"}}
	return a.last, nil
}

type resolving struct {
	calls  int
	prefix string
	err    error
}

func (r *resolving) ResolveAlias(_ context.Context, alias string) (string, error) {
	r.calls++
	if r.err != nil {
		return "", r.err
	}
	return r.prefix + "id-of-" + alias, nil
}

func TestAllow(t *testing.T) { synctest.Test(t, testAllow) }

func testAllow(t *testing.T) {
	aliases := &resolving{}
	d := &answering{keyID: "k1"}
	a, err := Allow(d, aliases, []string{"k1", "acs:kms:cn-hangzhou:123:key/k2", "alias/a", "acs:kms:cn-hangzhou:123:alias/b"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := a.Decrypt(context.Background(), Blob{}, nil); err != nil || aliases.calls != 0 {
		t.Errorf("%v after %d calls for aliases", err, aliases.calls)
	}
	for _, id := range []string{"k2", "id-of-alias/a", "id-of-alias/b", "k1"} {
		d.keyID = id
		if got, err := a.Decrypt(context.Background(), Blob{}, nil); err != nil || string(got.Plaintext) != "secret" {
			t.Errorf("%s: %v", id, err)
		}
	}
	d.keyID = "k3"
	got, err := a.Decrypt(context.Background(), Blob{}, nil)
	if !errors.Is(err, ErrDenied) || got != nil || d.last.Plaintext != nil {
		t.Errorf("another key: %v, %v", got, err)
	}
	if aliases.calls != 2 {
		t.Errorf("%d calls for 2 aliases", aliases.calls)
	}
	// A key that is listed needs no alias; one that is not waits for them.
	aliases.err = &Error{Class: ErrTransient, Action: "DescribeKey"}
	if a, err = Allow(d, aliases, []string{"alias/a"}); err != nil {
		t.Fatal(err)
	}
	if _, err := a.Decrypt(context.Background(), Blob{}, nil); !errors.Is(err, ErrTransient) {
		t.Errorf("an alias that cannot be resolved: %v", err)
	}
	aliases.err, d.keyID = nil, "id-of-alias/a"
	time.Sleep(time.Second)
	if _, err := a.Decrypt(context.Background(), Blob{}, nil); err != nil {
		t.Errorf("after it can: %v", err)
	}
	for _, bad := range [][]string{nil, {""}, {"a b"}, {"acs:kms:x"}, {"acs:kms:cn:1:secret/x"}, {"acs:kms:cn:1:key/"}, {"alias/"}, {"ALIAS/a"}, {"acs:kms:cn:1:alias/"}} {
		if _, err := Allow(d, aliases, bad); err == nil {
			t.Errorf("%q is accepted", bad)
		}
	}
}

// An alias that is moved takes its authority along: the new key is served as
// soon as something of it is read, the old one no more from then on, and after
// some minutes whatever is read. An outage takes nothing from anybody, and a
// flood of foreign files costs one call in a while.
func TestAliasIsMoved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		aliases := &resolving{}
		d := &answering{}
		a, err := Allow(d, aliases, []string{"alias/a"})
		if err != nil {
			t.Fatal(err)
		}
		allowed := func(id string) bool {
			d.keyID = id
			_, err := a.Decrypt(t.Context(), Blob{}, nil)
			if err != nil && !errors.Is(err, ErrDenied) {
				t.Error(err)
			}
			return err == nil
		}
		if !allowed("id-of-alias/a") || allowed("new-id-of-alias/a") || aliases.calls != 1 {
			t.Fatalf("%d calls", aliases.calls)
		}
		aliases.prefix = "new-"
		time.Sleep(aliasRest)
		if !allowed("id-of-alias/a") {
			t.Error("refused before anybody knew")
		}
		if !allowed("new-id-of-alias/a") || allowed("id-of-alias/a") || aliases.calls != 2 {
			t.Errorf("after the move, %d calls", aliases.calls)
		}
		aliases.prefix = "third-"
		time.Sleep(aliasFor - time.Second)
		if !allowed("new-id-of-alias/a") {
			t.Error("refused early")
		}
		time.Sleep(time.Second)
		if !allowed("new-id-of-alias/a") {
			t.Error("somebody waits for what is asked in the background")
		}
		synctest.Wait()
		if allowed("new-id-of-alias/a") {
			t.Error("the alias is not looked at again")
		}
		aliases.err = &Error{Class: ErrTransient, Action: "DescribeKey"}
		time.Sleep(aliasFor)
		if !allowed("third-id-of-alias/a") {
			t.Error("an outage refuses a key")
		}
		synctest.Wait()
		before := aliases.calls
		for range 100 {
			allowed("foreign")
			time.Sleep(100 * time.Millisecond)
		}
		if n := aliases.calls - before; n > 2 {
			t.Errorf("%d calls in 10 s", n)
		}
		aliases.err = &Error{Class: ErrKeyState, Action: "DescribeKey", Code: "Forbidden.AliasNotFound"}
		time.Sleep(aliasFor)
		allowed("third-id-of-alias/a")
		synctest.Wait()
		if allowed("third-id-of-alias/a") {
			t.Error("an alias that is gone allows its key")
		}
	})
}
