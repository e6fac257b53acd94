package aliyun

import (
	"context"
	"encoding/base64"
	"unicode/utf8"

	"github.com/kmsfs/kmsfs/kms"

	sdkkms "github.com/aliyun/alibaba-cloud-sdk-go/services/kms"
)

// Encrypt implements kms.Encrypter. The package documentation says what
// becomes of the plaintext.
func (c *Client) Encrypt(ctx context.Context, keyID string, plaintext []byte, ec kms.EncryptionContext) (*kms.Encrypted, error) {
	const action = "Encrypt"
	form, err := contextForm(action, ec)
	if err == nil {
		err = checkKeyID(action, keyID)
	}
	if err != nil {
		return nil, err
	}
	switch {
	case len(plaintext) == 0:
		// The SDK drops empty parameters.
		return nil, invalid(action, "the plaintext is empty")
	case len(plaintext) > kms.MaxPlaintext:
		return nil, invalid(action, "the plaintext is longer than the service takes")
	case !utf8.Valid(plaintext):
		return nil, invalid(action, "the plaintext is not UTF-8")
	}
	form["KeyId"] = keyID
	form["Plaintext"] = string(plaintext)

	var e kms.Encrypted
	err = c.call(ctx, operation{
		action:     action,
		repeatable: true,
		accept: func(body []byte) (picked, error) {
			return pick(body, "KeyId", "KeyVersionId", "RequestId", "CiphertextBlob")
		},
		send: func(client *sdkkms.Client) error {
			r := sdkkms.CreateEncryptRequest()
			r.FormParams = form
			a, err := client.Encrypt(r)
			if err == nil {
				e = kms.Encrypted{
					Blob:   a.CiphertextBlob,
					Origin: kms.Origin{KeyID: a.KeyId, KeyVersionID: a.KeyVersionId, RequestID: a.RequestId},
				}
			}
			return err
		},
	})
	if err == nil {
		err = checkOrigin(action, e.Origin)
	}
	if err == nil {
		err = checkBlob(action, e, len(plaintext))
	}
	if err != nil {
		return nil, err
	}
	return &e, nil
}

// checkBlob refuses a blob that cannot be one, above all one of another length:
// written to a .cipher file it would be found out when it is too late. Layouts
// that kms does not know must only be canonical base64.
func checkBlob(action string, e kms.Encrypted, size int) error {
	bad := func(detail string) error {
		return &kms.Error{Class: kms.ErrBadAnswer, Action: action, RequestID: e.RequestID, Detail: detail}
	}
	raw, err := base64.StdEncoding.Strict().DecodeString(e.Blob)
	if err != nil || e.Blob == "" || base64.StdEncoding.EncodeToString(raw) != e.Blob {
		return bad("CiphertextBlob is not base64")
	}
	b, err := kms.ParseBlob([]byte(e.Blob))
	if err != nil {
		return nil
	}
	if b.PlaintextSize != size {
		return bad("CiphertextBlob holds another number of bytes than were sent")
	}
	if b.KeyVersionID != e.KeyVersionID {
		return bad("CiphertextBlob names another key version than the answer")
	}
	return nil
}
