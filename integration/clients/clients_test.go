package clients_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/kmsfs/kmsfs/integration/clients"
	"github.com/kmsfs/kmsfs/integration/harness"
	"github.com/kmsfs/kmsfs/integration/lab"
)

// needNode ends a test that cannot work without node: in CI that is a failure,
// and only elsewhere a loud skip.
func needNode(t *testing.T) {
	t.Helper()
	for _, program := range []string{"node", "npm"} {
		if _, err := exec.LookPath(program); err == nil {
			continue
		} else if os.Getenv("CI") != "" {
			t.Fatalf("node and npm are needed here: %v", err)
		} else {
			t.Skipf("SKIPPED, NOT TESTED: node and npm are needed (%v)", err)
		}
	}
}

// connect starts a client until the end of the test.
func connect(t *testing.T, f clients.Foreign, to clients.Target) clients.Client {
	t.Helper()
	if f.NeedsNode {
		needNode(t)
	}
	c, err := f.Start(to)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return c
}

// refuses checks what a client made of a refusal. A client without a Recommend
// of its own is not asked for one.
func refuses(t *testing.T, c clients.Client, want clients.Refusal, action string, params map[string]string) {
	t.Helper()
	answer, err := c.Call(action, params)
	var got *clients.Refusal
	if !errors.As(err, &got) {
		t.Fatalf("%s: got %v, %v, want a refusal", action, answer, err)
	}
	if want.Name != "" && got.Name != want.Name || got.Code != want.Code || got.Status != want.Status ||
		!strings.Contains(got.Message, want.Message) || want.Recommend != "" && got.Recommend != want.Recommend {
		t.Errorf("%s: got %+v, want %+v", action, *got, want)
	}
	if got.Code != "" && got.RequestID == "" {
		t.Errorf("%s: no request id in %+v", action, *got)
	}
}

// Every foreign client makes a key and an alias, gets back byte for byte what
// it encrypted, and recognises the errors that it knows how to recognise. It
// does so with keys of both generations.
func TestForeignClientsGetBackWhatTheyEncrypted(t *testing.T) {
	eachGeneration(t, func(t *testing.T, l *lab.Lab) {
		for i, f := range clients.All(harness.Repository("integration/clients"), harness.BinDir) {
			t.Run(f.Name, func(t *testing.T) {
				foreignClient(t, l, f, fmt.Sprintf("alias/foreign/%d", i))
			})
		}
	})
}

// eachGeneration runs a test with an emulator of each generation.
func eachGeneration(t *testing.T, test func(*testing.T, *lab.Lab)) {
	for _, generation := range []string{"1", "3"} {
		t.Run("generation "+generation, func(t *testing.T) {
			test(t, harness.NewLab(t, "--generation", generation))
		})
	}
}

func foreignClient(t *testing.T, l *lab.Lab, f clients.Foreign, alias string) {
	to := harness.Target(t, l)
	c := connect(t, f, to)
	const description = "for <tests> & \"密\"\r\n"
	made := harness.Ask(t, c, "CreateKey", "Description", description)
	id := made.Text("KeyMetadata", "KeyId")
	if id == "" || made.Text("KeyMetadata", "Description") != description {
		t.Fatalf("made %v", made)
	}
	harness.Ask(t, c, "CreateAlias", "AliasName", alias, "KeyId", id)

	blob := ""
	for name, text := range oddPlaintexts {
		sealed := harness.Ask(t, c, "Encrypt", "KeyId", alias, "Plaintext", text)
		blob = sealed.Text("CiphertextBlob")
		opened := harness.Ask(t, c, "Decrypt", "CiphertextBlob", blob)
		if got := opened.Text("Plaintext"); got != text {
			t.Errorf("%s: got %.60q, want %.60q", name, got, text)
		}
		if sealed.Text("KeyId") != id || opened.Text("KeyId") != id || opened.Text("KeyVersionId") != sealed.Text("KeyVersionId") {
			t.Errorf("%s: sealed %v, opened %v", name, sealed, opened)
		}
	}
	if out, err := l.Kmsfs(strings.NewReader(blob), "decrypt", "-"); err != nil || !isOdd(out) {
		t.Errorf("kmsfs opens its ciphertext as %.60q, %v", out, err)
	}
	contexts(t, c, f, alias)
	list := harness.Ask(t, c, "ListAliasesByKeyId", "KeyId", id)["Aliases"].(map[string]any)["Alias"].([]any)
	if len(list) != 1 || list[0].(map[string]any)["AliasName"] != alias {
		t.Errorf("aliases %v", list)
	}
	refuses(t, c, f.NotFound, "Encrypt", map[string]string{"KeyId": "00000000-0000-4000-8000-000000000000", "Plaintext": "x"})

	wrong := to
	wrong.AccessKeySecret += "!"
	refuses(t, connect(t, f, wrong), f.Mismatch, "Encrypt", map[string]string{"KeyId": alias, "Plaintext": "a b+c*~密\r\n"})
}

// contexts checks that a client's context counts, and that none is taken for
// one that the service would not see.
func contexts(t *testing.T, c clients.Client, f clients.Foreign, alias string) {
	t.Helper()
	const context = `{"purpose":"a b+c*~","nom":"clé"}`
	sealed := harness.Ask(t, c, "Encrypt", "KeyId", alias, "Plaintext", "bound", "EncryptionContext", context)
	opened := harness.Ask(t, c, "Decrypt", "CiphertextBlob", sealed.Text("CiphertextBlob"), "EncryptionContext", context)
	if opened.Text("Plaintext") != "bound" {
		t.Errorf("with a context: %v", opened)
	}
	if answer, err := c.Call("Decrypt", map[string]string{"CiphertextBlob": sealed.Text("CiphertextBlob")}); err == nil {
		t.Errorf("without its context: %v", answer)
	}
	if f.Spread != (clients.Refusal{}) {
		refuses(t, c, f.Spread, "Encrypt", map[string]string{"KeyId": alias, "Plaintext": "x", "EncryptionContext.app": "x"})
	}
}

// oddPlaintexts are strings that careless encoding changes. XML has no NUL.
var oddPlaintexts = map[string]string{
	"pem":              "-----BEGIN PRIVATE KEY-----\nMIIE+/==\n-----END PRIVATE KEY-----\n",
	"crlf":             "a\r\nb\r\n\rc\n",
	"signs":            "+/=&%~* %20%2B+!'()#?;:@,$[]{}|\\^`\"<>",
	"cjk":              "秘密鍵 密钥 😀",
	"blanks":           " \t leading and trailing \t \n\n",
	"longest":          harness.Lengthy("+/=", 6144),
	"longest cjk":      strings.Repeat("密", 6144/3),
	"base64":           "cm9vdA==",
	"markup":           "</Plaintext><![CDATA[&amp;]]>",
	"json":             `{"Code":"x","Plaintext":"\u0000"}`,
	"line separators":  "a\u2028b\u2029c\u0085d",
	"byte order mark":  "\ufeffa",
	"trailing newline": "root\n",
}

func isOdd(s string) bool {
	for _, text := range oddPlaintexts {
		if text == s {
			return true
		}
	}
	return false
}

// Temporary keys: a token is accepted with its own key and signature, and with
// nothing else.
func TestTokenIsGoodForItsOwnKeyOnly(t *testing.T) {
	eachGeneration(t, func(t *testing.T, l *lab.Lab) {
		token, err := l.Token("1h")
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range clients.All(harness.Repository("integration/clients"), harness.BinDir) {
			t.Run(f.Name, func(t *testing.T) {
				to := harness.Target(t, l)
				to.AccessKeyID, to.AccessKeySecret, to.SecurityToken = token.AccessKeyId, token.AccessKeySecret, token.SecurityToken
				sealed := harness.Ask(t, connect(t, f, to), "Encrypt", "KeyId", lab.Alias, "Plaintext", "temporary")
				wrong := to
				wrong.SecurityToken = token.SecurityToken[:40] + "x"
				_, err := connect(t, f, wrong).Call("Decrypt", map[string]string{"CiphertextBlob": sealed.Text("CiphertextBlob")})
				var refused *clients.Refusal
				if !errors.As(err, &refused) || !strings.Contains(refused.Code+refused.Message, "InvalidSecurityToken.Malformed") {
					t.Errorf("with another token: %v", err)
				}
			})
		}
	})
}
