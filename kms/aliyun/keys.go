package aliyun

import (
	"context"
	"encoding/json"
	"strconv"

	sdkkms "github.com/aliyun/alibaba-cloud-sdk-go/services/kms"
)

// maxPage is the most entries that the service gives at once.
const maxPage = 100

// ListKeys returns one page of the keys, verbatim. Pages count from 1 and have
// 1 to 100 entries; 0 stands for the service's own choice.
func (c *Client) ListKeys(ctx context.Context, page, size int) (json.RawMessage, error) {
	const action = "ListKeys"
	form, err := pageForm(action, page, size)
	if err != nil {
		return nil, err
	}
	return c.administer(ctx, operation{action: action, form: form, repeatable: true, send: func(client *sdkkms.Client) error {
		r := sdkkms.CreateListKeysRequest()
		r.FormParams = form
		_, err := client.ListKeys(r)
		return err
	}}, nil)
}

// ListAliases returns one page of all aliases, verbatim; page and size are as
// for ListKeys.
func (c *Client) ListAliases(ctx context.Context, page, size int) (json.RawMessage, error) {
	const action = "ListAliases"
	form, err := pageForm(action, page, size)
	if err != nil {
		return nil, err
	}
	return c.administer(ctx, operation{action: action, form: form, repeatable: true, send: func(client *sdkkms.Client) error {
		r := sdkkms.CreateListAliasesRequest()
		r.FormParams = form
		_, err := client.ListAliases(r)
		return err
	}}, nil)
}

// ListAliasesByKeyID returns one page of a key's aliases, verbatim; page and
// size are as for ListKeys.
func (c *Client) ListAliasesByKeyID(ctx context.Context, keyID string, page, size int) (json.RawMessage, error) {
	const action = "ListAliasesByKeyId"
	form, err := pageForm(action, page, size)
	if err == nil {
		err = checkKeyID(action, keyID)
	}
	if err != nil {
		return nil, err
	}
	form["KeyId"] = keyID
	return c.administer(ctx, operation{action: action, form: form, repeatable: true, send: func(client *sdkkms.Client) error {
		r := sdkkms.CreateListAliasesByKeyIdRequest()
		r.FormParams = form
		_, err := client.ListAliasesByKeyId(r)
		return err
	}}, nil)
}

// DescribeKey returns what the service says of a key, verbatim.
func (c *Client) DescribeKey(ctx context.Context, keyID string) (json.RawMessage, error) {
	return c.onKey(ctx, "DescribeKey", keyID, keyMetadata, func(client *sdkkms.Client, form map[string]string) error {
		r := sdkkms.CreateDescribeKeyRequest()
		r.FormParams = form
		_, err := client.DescribeKey(r)
		return err
	})
}

// EnableKey makes a disabled key usable, and returns the answer, verbatim.
func (c *Client) EnableKey(ctx context.Context, keyID string) (json.RawMessage, error) {
	return c.onKey(ctx, "EnableKey", keyID, nil, func(client *sdkkms.Client, form map[string]string) error {
		r := sdkkms.CreateEnableKeyRequest()
		r.FormParams = form
		_, err := client.EnableKey(r)
		return err
	})
}

// DisableKey makes a key unusable, and with it all it has encrypted, and
// returns the answer, verbatim.
func (c *Client) DisableKey(ctx context.Context, keyID string) (json.RawMessage, error) {
	return c.onKey(ctx, "DisableKey", keyID, nil, func(client *sdkkms.Client, form map[string]string) error {
		r := sdkkms.CreateDisableKeyRequest()
		r.FormParams = form
		_, err := client.DisableKey(r)
		return err
	})
}

// sendForm makes the SDK send one request with a form.
type sendForm func(*sdkkms.Client, map[string]string) error

// onKey runs an operation that has a key for its only parameter and may be
// repeated.
func (c *Client) onKey(ctx context.Context, action, keyID string, check func([]byte) error, send sendForm) (json.RawMessage, error) {
	if err := checkKeyID(action, keyID); err != nil {
		return nil, err
	}
	form := map[string]string{"KeyId": keyID}
	return c.administer(ctx, operation{action: action, form: form, repeatable: true, send: func(client *sdkkms.Client) error {
		return send(client, form)
	}}, check)
}

func pageForm(action string, page, size int) (map[string]string, error) {
	form := map[string]string{}
	switch {
	case page < 0:
		return nil, invalid(action, "pages count from 1")
	case size < 0 || size > maxPage:
		return nil, invalid(action, "a page has 1 to "+strconv.Itoa(maxPage)+" entries")
	}
	if page > 0 {
		form["PageNumber"] = strconv.Itoa(page)
	}
	if size > 0 {
		form["PageSize"] = strconv.Itoa(size)
	}
	return form, nil
}
