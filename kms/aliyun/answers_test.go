package aliyun

import (
	"context"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/kmsfs/kmsfs/kms"
	"github.com/kmsfs/kmsfs/kms/aliyun/cloudtest"
)

// A success that is none: {} and its relatives, members of other types, twice
// or missing, answers without end. Each is ErrBadAnswer.
func TestImplausibleDecryptAnswers(t *testing.T) {
	good := `"KeyId":"k","KeyVersionId":"v","RequestId":"r"`
	for name, body := range map[string]string{
		"empty":                 "",
		"empty object":          "{}",
		"null":                  "null",
		"array":                 "[]",
		"string":                `"x"`,
		"HTML":                  "<html>captive portal</html>",
		"no Plaintext":          "{" + good + "}",
		"Plaintext true":        "{" + good + `,"Plaintext":true}`,
		"Plaintext number":      "{" + good + `,"Plaintext":12}`,
		"Plaintext null":        "{" + good + `,"Plaintext":null}`,
		"Plaintext object":      "{" + good + `,"Plaintext":{"Plaintext":"x"}}`,
		"Plaintext nested only": "{" + good + `,"Data":{"Plaintext":"x"}}`,
		"Plaintext twice":       "{" + good + `,"Plaintext":"x","Plaintext":"x"}`,
		"Plaintext other case":  "{" + good + `,"plaintext":"x"}`,
		"lone surrogate":        "{" + good + `,"Plaintext":"\ud800"}`,
		"swapped surrogates":    "{" + good + `,"Plaintext":"\udc00\ud800"}`,
		"not UTF-8":             "{" + good + `,"Plaintext":"` + "\xff" + `"}`,
		"control character":     "{" + good + `,"Plaintext":"` + "\n" + `"}`,
		"cut":                   "{" + good + `,"Plaintext":"canary`,
		"trailing data":         "{" + good + `,"Plaintext":"x"}{}`,
		"no KeyId":              `{"KeyVersionId":"v","RequestId":"r","Plaintext":"x"}`,
		"no KeyVersionId":       `{"KeyId":"k","RequestId":"r","Plaintext":"x"}`,
		"no RequestId":          `{"KeyId":"k","KeyVersionId":"v","Plaintext":"x"}`,
		"KeyId true":            `{"KeyId":true,"KeyVersionId":"v","RequestId":"r","Plaintext":"x"}`,
		"KeyId twice":           `{"KeyId":"k","KeyId":"k","KeyVersionId":"v","RequestId":"r","Plaintext":"x"}`,
		"RequestId odd":         `{"KeyId":"k","KeyVersionId":"v","RequestId":"r r","Plaintext":"x"}`,
		"KeyVersionId odd":      `{"KeyId":"k","KeyVersionId":"\u0000","RequestId":"r","Plaintext":"x"}`,
		"too long":              `{` + good + `,"Plaintext":"` + strings.Repeat("x", maxAnswer) + `"}`,
	} {
		c, _ := service(t, cloudtest.Answering(200, body))
		d, err := c.Decrypt(context.Background(), blobOf(t, 1), nil)
		cloudtest.WantClass(t, name, err, kms.ErrBadAnswer)
		if d != nil {
			t.Errorf("%s: an answer beside the error", name)
		}
	}
}

func TestImplausibleEncryptAnswers(t *testing.T) {
	other := strings.Replace(versionID, "2", "3", 1)
	otherBlob := blobOf(t, 3).Text
	for name, body := range map[string]string{
		"empty object":  "{}",
		"no blob":       `{"KeyId":"k","KeyVersionId":"v","RequestId":"r"}`,
		"empty blob":    encryptAnswer(""),
		"blob true":     `{"KeyId":"k","KeyVersionId":"v","RequestId":"r","CiphertextBlob":true}`,
		"not base64":    encryptAnswer("not base64!"),
		"line break":    encryptAnswer("YWJj\nYWJj"),
		"not canonical": encryptAnswer("YWJ="),
		"other length":  encryptAnswer(blobOf(t, 4).Text),
		"other version": strings.Replace(encryptAnswer(otherBlob), versionID, other, 1),
	} {
		c, _ := service(t, cloudtest.Answering(200, body))
		e, err := c.Encrypt(context.Background(), keyID, []byte("abc"), nil)
		cloudtest.WantClass(t, name, err, kms.ErrBadAnswer)
		if e != nil {
			t.Errorf("%s: an answer beside the error", name)
		}
	}
	c, _ := service(t, cloudtest.Answering(200, encryptAnswer("dW5rbm93biBsYXlvdXQ=")))
	if _, err := c.Encrypt(context.Background(), keyID, []byte("abc"), nil); err != nil {
		t.Errorf("a layout that kms does not know: %v", err)
	}
}

func TestImplausibleAdminAnswers(t *testing.T) {
	for _, body := range []string{"", "{}", "<html>", `{"RequestId":7}`, `{"RequestId":"r","KeyMetadata":{}}`, `{"RequestId":"r","KeyMetadata":"k"}`} {
		c, _ := service(t, cloudtest.Answering(200, body))
		_, err := c.CreateKey(context.Background(), "")
		cloudtest.WantClass(t, "CreateKey "+body, err, kms.ErrBadAnswer)
	}
	for _, body := range []string{"", "{}", "<html>", `{"RequestId":7}`} {
		c, _ := service(t, cloudtest.Answering(200, body))
		_, err := c.CreateAlias(context.Background(), "alias/x", keyID)
		cloudtest.WantClass(t, "CreateAlias "+body, err, kms.ErrBadAnswer)
	}
}

// A stream without Content-Length and without end is cut off at the bound.
func TestEndlessAnswer(t *testing.T) {
	stopped := make(chan struct{})
	c, _ := service(t, func(w http.ResponseWriter, r *http.Request) {
		defer close(stopped)
		for {
			if _, err := io.WriteString(w, strings.Repeat(" ", 4096)); err != nil {
				return
			}
		}
	})
	_, err := c.Decrypt(context.Background(), blobOf(t, 1), nil)
	cloudtest.WantClass(t, "endless", err, kms.ErrBadAnswer)
	<-stopped
}

// A redirect, also to plain HTTP, is refused and never followed.
func TestRedirect(t *testing.T) {
	for _, status := range []int{301, 302, 303, 307, 308} {
		_, other := service(t, func(http.ResponseWriter, *http.Request) { t.Error("the redirect was followed") })
		c, _ := service(t, func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, other.URL+"/?"+r.URL.RawQuery, status)
		})
		_, err := c.Decrypt(context.Background(), blobOf(t, 1), nil)
		cloudtest.WantClass(t, "redirect", err, kms.ErrBadAnswer)
	}
}
