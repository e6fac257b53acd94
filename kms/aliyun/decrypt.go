package aliyun

import (
	"context"
	"fmt"

	"github.com/kmsfs/kmsfs/kms"

	sdkkms "github.com/aliyun/alibaba-cloud-sdk-go/services/kms"
)

// Decrypt implements kms.Decrypter.
func (c *Client) Decrypt(ctx context.Context, blob kms.Blob, ec kms.EncryptionContext) (*kms.Decrypted, error) {
	const action = "Decrypt"
	form, err := contextForm(action, ec)
	if err != nil {
		return nil, err
	}
	if blob.Text == "" {
		return nil, &kms.Error{Class: kms.ErrBadCiphertext, Action: action, Detail: "empty"}
	}
	form["CiphertextBlob"] = blob.Text

	var d kms.Decrypted
	err = c.call(ctx, operation{
		action:     action,
		form:       form,
		repeatable: true,
		accept: func(body []byte) (picked, error) {
			d.Wipe() // of a first try, if there was one
			seen, err := pick(body, "KeyId", "KeyVersionId", "RequestId")
			if err == nil {
				err = seen.origin()
			}
			if err != nil {
				return nil, err
			}
			if d.Plaintext, err = liftPlaintext(body); err != nil {
				return nil, err
			}
			seen["Plaintext"] = []byte(`""`)
			return seen, nil
		},
		send: func(client *sdkkms.Client) error {
			r := sdkkms.CreateDecryptRequest()
			r.FormParams = form // not the fields, which go into the URL
			a, err := client.Decrypt(r)
			if err == nil {
				d.Origin = kms.Origin{KeyID: a.KeyId, KeyVersionID: a.KeyVersionId, RequestID: a.RequestId}
			}
			return err
		},
	})
	if err != nil {
		d.Wipe()
		return nil, err
	}
	if from := moved(blob, d.Origin); from != "" {
		d.Notes = []string{fmt.Sprintf("the ciphertext names key version %s, the service answered with %s: a migrated key?", from, d.KeyVersionID)}
	}
	return &d, nil
}
