package aliyun

import (
	"context"
	"errors"
	"fmt"
	"strings"

	sdkkms "github.com/aliyun/alibaba-cloud-sdk-go/services/kms"

	"github.com/kmsfs/kmsfs/kms"
	"github.com/kmsfs/kmsfs/kms/aliyun/blobs"
	"github.com/kmsfs/kmsfs/kms/aliyun/scrub"
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
		accept: func(body []byte) (scrub.Picked, error) {
			d.Wipe() // of a first try, if there was one
			seen, err := scrub.Pick(body, "KeyId", "KeyVersionId", "RequestId")
			if err == nil {
				err = checkOrigin(seen)
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
		return nil, doubted(blob, err)
	}
	if from := blobs.Moved(blob, d.Origin); from != "" {
		d.Notes = []kms.Note{{Kind: "moved", Text: fmt.Sprintf(
			"the ciphertext names key version %s, the service answered with %s: a migrated key?", from, d.KeyVersionID)}}
	}
	return &d, nil
}

// doubted adds to a refusal what the blob itself gives reason to doubt: where it
// does not begin with a key version id, it may be no ciphertext of the service at
// all.
func doubted(blob kms.Blob, err error) error {
	e, ok := errors.AsType[*kms.Error](err)
	named := blob.KeyVersionID != "" || blobs.VersionHead(blob) != ""
	if !ok || named || !errors.Is(e, kms.ErrKeyState) && !errors.Is(e, kms.ErrBadCiphertext) {
		return err
	}
	doubtful := *e
	doubtful.Detail = strings.TrimPrefix(e.Detail+"; it does not begin with a key version id", "; ")
	doubtful.Hint = "is the file a CiphertextBlob of KMS at all, and whole?"
	return &doubtful
}
