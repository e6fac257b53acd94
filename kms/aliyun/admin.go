package aliyun

import (
	"context"
	"encoding/json"
	"unicode/utf8"

	sdkkms "github.com/aliyun/alibaba-cloud-sdk-go/services/kms"

	"github.com/kmsfs/kmsfs/kms/aliyun/scrub"
)

// CreateKey makes a key for encryption and returns the service's answer,
// verbatim. It is never repeated: a second call would make a second key.
func (c *Client) CreateKey(ctx context.Context, description string) (json.RawMessage, error) {
	const action = "CreateKey"
	if !utf8.ValidString(description) || utf8.RuneCountInString(description) > maxDescription {
		return nil, invalid(action, "the description is too long or not UTF-8")
	}
	form := map[string]string{}
	if description != "" {
		form["Description"] = description
	}
	return c.administer(ctx, operation{action: action, form: form, send: func(client *sdkkms.Client) error {
		r := sdkkms.CreateCreateKeyRequest()
		r.FormParams = form
		_, err := client.CreateKey(r)
		return err
	}}, keyMetadata)
}

// CreateAlias gives a key the name alias (alias/…) and returns the service's
// answer, verbatim. It is never repeated: a second call would fail because the
// first succeeded.
func (c *Client) CreateAlias(ctx context.Context, alias, keyID string) (json.RawMessage, error) {
	const action = "CreateAlias"
	if err := checkKeyID(action, alias); err != nil {
		return nil, err
	}
	if err := checkKeyID(action, keyID); err != nil {
		return nil, err
	}
	form := map[string]string{"AliasName": alias, "KeyId": keyID}
	return c.administer(ctx, operation{action: action, form: form, send: func(client *sdkkms.Client) error {
		r := sdkkms.CreateCreateAliasRequest()
		r.FormParams = form
		_, err := client.CreateAlias(r)
		return err
	}}, nil)
}

// administer runs an operation whose answer holds no secret and is passed on as
// it is, if check has nothing against it.
func (c *Client) administer(ctx context.Context, op operation, check func([]byte) error) (json.RawMessage, error) {
	var answer json.RawMessage
	op.accept = func(body []byte) (scrub.Picked, error) {
		seen, err := scrub.Pick(body, "RequestId")
		switch {
		case err != nil:
			return nil, err
		case seen.Text("RequestId", scrub.RequestIDForm) == "":
			return nil, errNoRequestID
		}
		if check != nil {
			if err := check(body); err != nil {
				return nil, err
			}
		}
		answer = verbatim(body)
		return seen, nil
	}
	if err := c.call(ctx, op); err != nil {
		return nil, err
	}
	return answer, nil
}
