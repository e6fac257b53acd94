package aliyun

import (
	"context"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/kmsfs/kmsfs/kms"
	"github.com/kmsfs/kmsfs/kms/aliyun/cloudtest"
)

// What goes over the wire for each action: HTTPS, HTTP/1.1, POST, a valid
// signature, everything that varies in the body and nothing of it in the URL.
func TestActions(t *testing.T) {
	ctx := context.Background()
	blob := blobOf(t, len(plaintext))
	keyAnswer := " {\"KeyMetadata\":{\"KeyId\":\"" + keyID + "\",\"Arn\":\"acs:kms:x\"}, \"RequestId\":\"" + requestID1 + "\"}\n"
	aliasAnswer := `{"RequestId":"` + requestID1 + `"}`
	listAnswer := `{"TotalCount":1,"PageNumber":1,"PageSize":10,"Keys":{"Key":[{"KeyId":"` + keyID + `"}]},"RequestId":"` + requestID1 + `"}`
	ec := kms.EncryptionContext{"z": "1", "a": "<b&c>"}
	for _, tt := range []struct {
		action, answer string
		form           map[string]string
		call           func(*Client) error
	}{
		{"Decrypt", cloudtest.DecryptAnswer(plaintext),
			map[string]string{"CiphertextBlob": blob.Text, "EncryptionContext": `{"a":"<b&c>","z":"1"}`},
			func(c *Client) error {
				d, err := c.Decrypt(ctx, blob, ec)
				if err == nil && (string(d.Plaintext) != plaintext || d.KeyID != keyID || d.KeyVersionID != versionID || d.RequestID != requestID1) {
					t.Errorf("Decrypt: got %+v", d)
				}
				return err
			}},
		{"Decrypt", cloudtest.DecryptAnswer(""),
			map[string]string{"CiphertextBlob": blob.Text},
			func(c *Client) error {
				d, err := c.Decrypt(ctx, blob, nil)
				if err == nil && len(d.Plaintext) != 0 {
					t.Errorf("Decrypt: got %+v", d)
				}
				return err
			}},
		{"Encrypt", encryptAnswer(blob.Text),
			map[string]string{"KeyId": "alias/a b", "Plaintext": plaintext, "EncryptionContext": `{"a":"<b&c>","z":"1"}`},
			func(c *Client) error {
				e, err := c.Encrypt(ctx, "alias/a b", []byte(plaintext), ec)
				if err == nil && (e.Blob != blob.Text || e.KeyID != keyID || e.KeyVersionID != versionID || e.RequestID != requestID1) {
					t.Errorf("Encrypt: got %+v", e)
				}
				return err
			}},
		{"CreateKey", keyAnswer, map[string]string{"Description": "for nginx"},
			func(c *Client) error {
				raw, err := c.CreateKey(ctx, "for nginx")
				if err == nil && string(raw) != keyAnswer {
					t.Errorf("CreateKey: got %q", raw)
				}
				return err
			}},
		{"CreateKey", keyAnswer, map[string]string{}, func(c *Client) error { _, err := c.CreateKey(ctx, ""); return err }},
		{"CreateAlias", aliasAnswer, map[string]string{"AliasName": "alias/x", "KeyId": keyID},
			func(c *Client) error {
				raw, err := c.CreateAlias(ctx, "alias/x", keyID)
				if err == nil && string(raw) != aliasAnswer {
					t.Errorf("CreateAlias: got %q", raw)
				}
				return err
			}},
		{"ListKeys", listAnswer, map[string]string{"PageNumber": "2", "PageSize": "50"},
			func(c *Client) error { raw, err := c.ListKeys(ctx, 2, 50); return verbatimIs(t, raw, listAnswer, err) }},
		{"ListKeys", listAnswer, map[string]string{},
			func(c *Client) error { raw, err := c.ListKeys(ctx, 0, 0); return verbatimIs(t, raw, listAnswer, err) }},
		{"ListAliases", listAnswer, map[string]string{"PageNumber": "1"},
			func(c *Client) error {
				raw, err := c.ListAliases(ctx, 1, 0)
				return verbatimIs(t, raw, listAnswer, err)
			}},
		{"ListAliasesByKeyId", listAnswer, map[string]string{"KeyId": keyID, "PageSize": "1"},
			func(c *Client) error {
				raw, err := c.ListAliasesByKeyID(ctx, keyID, 0, 1)
				return verbatimIs(t, raw, listAnswer, err)
			}},
		{"DescribeKey", keyAnswer, map[string]string{"KeyId": "alias/x"},
			func(c *Client) error {
				raw, err := c.DescribeKey(ctx, "alias/x")
				return verbatimIs(t, raw, keyAnswer, err)
			}},
		{"EnableKey", aliasAnswer, map[string]string{"KeyId": keyID},
			func(c *Client) error {
				raw, err := c.EnableKey(ctx, keyID)
				return verbatimIs(t, raw, aliasAnswer, err)
			}},
		{"DisableKey", aliasAnswer, map[string]string{"KeyId": keyID},
			func(c *Client) error {
				raw, err := c.DisableKey(ctx, keyID)
				return verbatimIs(t, raw, aliasAnswer, err)
			}},
	} {
		t.Run(tt.action, func(t *testing.T) {
			c, _ := service(t, func(w http.ResponseWriter, r *http.Request) {
				if r.TLS == nil || r.ProtoMajor != 1 || r.Method != http.MethodPost || r.URL.Path != "/" {
					t.Errorf("got %s %s over %s, TLS %v", r.Method, r.URL.Path, r.Proto, r.TLS != nil)
				}
				if !signed(r) {
					t.Error("the signature is wrong")
				}
				if q := r.URL.Query(); q.Get("Action") != tt.action || q.Get("Version") != "2016-01-20" || q.Get("Format") != "JSON" || q.Get("SecurityToken") != token {
					t.Errorf("query %v", q)
				}
				if len(r.PostForm) != len(tt.form) {
					t.Errorf("form has %d members, want %d", len(r.PostForm), len(tt.form))
				}
				for name, want := range tt.form {
					if got := r.PostForm.Get(name); got != want {
						t.Errorf("%s = %q, want %q", name, got, want)
					}
					if r.URL.Query().Has(name) {
						t.Errorf("%s is in the URL", name)
					}
				}
				cloudtest.Answering(200, tt.answer)(w, r)
			})
			if err := tt.call(c); err != nil {
				t.Error(err)
			}
		})
	}
}

// One Client, 32 goroutines, different contents: each gets its own plaintext.
// The race detector watches.
func TestConcurrent(t *testing.T) {
	c, _ := service(t, func(w http.ResponseWriter, r *http.Request) {
		r.ParseForm()
		cloudtest.Answering(200, cloudtest.DecryptAnswer(r.Form.Get("EncryptionContext")))(w, r)
	})
	blob := blobOf(t, 1)
	var wg sync.WaitGroup
	for g := range 32 {
		wg.Go(func() {
			for range 10 {
				name := strings.Repeat("x", g+1)
				d, err := c.Decrypt(context.Background(), blob, kms.EncryptionContext{"n": name})
				if err != nil {
					t.Error(err)
					return
				}
				if want := `{"n":"` + name + `"}`; string(d.Plaintext) != want {
					t.Errorf("got %q, want %q", d.Plaintext, want)
				}
				d.Wipe()
			}
		})
	}
	wg.Wait()
}

// Requests that cannot succeed are refused here, as ErrInvalid.
func TestRefusedBeforeSending(t *testing.T) {
	c, _ := service(t, func(http.ResponseWriter, *http.Request) { t.Error("a request was sent") })
	ctx := context.Background()
	blob := blobOf(t, 1)
	long := kms.EncryptionContext{"k": strings.Repeat("\u4e2d", 8192)}
	for name, call := range map[string]func() error{
		"context too long":   func() error { _, err := c.Decrypt(ctx, blob, long); return err },
		"context not UTF-8":  func() error { _, err := c.Decrypt(ctx, blob, kms.EncryptionContext{"k": "\xff"}); return err },
		"context, Encrypt":   func() error { _, err := c.Encrypt(ctx, keyID, []byte("x"), long); return err },
		"plaintext empty":    func() error { _, err := c.Encrypt(ctx, keyID, nil, nil); return err },
		"plaintext too long": func() error { _, err := c.Encrypt(ctx, keyID, make([]byte, kms.MaxPlaintext+1), nil); return err },
		"plaintext not UTF-8": func() error {
			_, err := c.Encrypt(ctx, keyID, []byte("\xff"), nil)
			return err
		},
		"no key":        func() error { _, err := c.Encrypt(ctx, "", []byte("x"), nil); return err },
		"no alias":      func() error { _, err := c.CreateAlias(ctx, "", keyID); return err },
		"alias, no key": func() error { _, err := c.CreateAlias(ctx, "alias/x", ""); return err },
		"description":   func() error { _, err := c.CreateKey(ctx, strings.Repeat("x", 8193)); return err },
	} {
		cloudtest.WantClass(t, name, call(), kms.ErrInvalid)
	}
	cloudtest.WantClass(t, "no blob", func() error { _, err := c.Decrypt(ctx, kms.Blob{}, nil); return err }(), kms.ErrBadCiphertext)
}

// The longest context that is allowed does arrive.
func TestLongestContext(t *testing.T) {
	c, _ := service(t, func(w http.ResponseWriter, r *http.Request) {
		if !signed(r) {
			t.Error("the signature is wrong")
		}
		cloudtest.Answering(200, cloudtest.DecryptAnswer("x"))(w, r)
	})
	ec := kms.EncryptionContext{"k": strings.Repeat("\u4e2d", 8192-len(`{"k":""}`))}
	if _, err := c.Decrypt(context.Background(), blobOf(t, 1), ec); err != nil {
		t.Error(err)
	}
}

func verbatimIs(t *testing.T, got []byte, want string, err error) error {
	t.Helper()
	if err == nil && string(got) != want {
		t.Errorf("got %q", got)
	}
	return err
}
