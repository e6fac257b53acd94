package aliyun

import (
	"context"
	"encoding/base64"
	"errors"
	"unicode/utf8"

	sdkkms "github.com/aliyun/alibaba-cloud-sdk-go/services/kms"

	"github.com/kmsfs/kmsfs/kms"
	"github.com/kmsfs/kmsfs/kms/aliyun/blobs"
	"github.com/kmsfs/kmsfs/kms/aliyun/scrub"
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
		form:       form,
		repeatable: true,
		accept: func(body []byte) (scrub.Picked, error) {
			seen, err := scrub.Pick(body, "KeyId", "KeyVersionId", "RequestId", "CiphertextBlob")
			if err == nil {
				err = checkOrigin(seen)
			}
			if err == nil {
				err = checkBlob(seen, len(plaintext))
			}
			return seen, err
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
	if err != nil {
		return nil, err
	}
	return &e, nil
}

// checkBlob refuses a blob that cannot be one, above all one of another length:
// written to a .cipher file it would be found out when it is too late. Unknown
// layouts must only be canonical base64.
func checkBlob(seen scrub.Picked, size int) error {
	blob, err := scrub.Unquote(seen["CiphertextBlob"])
	if err != nil {
		return errors.New("member CiphertextBlob is missing or malformed")
	}
	raw, err := base64.StdEncoding.Strict().DecodeString(string(blob))
	if err != nil || len(raw) == 0 || base64.StdEncoding.EncodeToString(raw) != string(blob) {
		return errors.New("member CiphertextBlob is not base64")
	}
	b, not := blobs.Of(blob)
	version := seen.Text("KeyVersionId", versionIDForm)
	if known, ok := blobs.Under(b, version); ok {
		b = known
	}
	switch {
	case not != nil || b.PlaintextSize == kms.UnknownSize:
		return nil
	case b.PlaintextSize != size:
		return errors.New("member CiphertextBlob holds another number of bytes than were sent")
	case b.KeyVersionID != version:
		return errors.New("member CiphertextBlob names another key version than the answer")
	}
	return nil
}
