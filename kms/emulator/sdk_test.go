package emulator_test

import (
	"errors"
	"net/http"
	"strings"
	"testing"

	"github.com/aliyun/alibaba-cloud-sdk-go/sdk"
	"github.com/aliyun/alibaba-cloud-sdk-go/sdk/auth/credentials"
	sdkerrors "github.com/aliyun/alibaba-cloud-sdk-go/sdk/errors"
	"github.com/aliyun/alibaba-cloud-sdk-go/sdk/requests"
	"github.com/aliyun/alibaba-cloud-sdk-go/services/kms"
)

// roundTripper hides the transport's type from the SDK, which would change its
// settings.
type roundTripper struct{ http.RoundTripper }

// sdkClient is the client most programs use.
func (b *bench) sdkClient(secret string) *kms.Client {
	b.t.Helper()
	c := sdk.NewConfig().WithScheme("HTTPS").WithAutoRetry(false)
	c.Transport = roundTripper{b.http.Transport}
	client, err := kms.NewClientWithOptions("cn-hangzhou", c, credentials.NewStaticAKCredentialsProvider(accessKey, secret))
	if err != nil {
		b.t.Fatal(err)
	}
	client.Domain = strings.TrimPrefix(b.server.URL(), "https://")
	return client
}

func serverError(t *testing.T, err error) *sdkerrors.ServerError {
	t.Helper()
	var e *sdkerrors.ServerError
	if !errors.As(err, &e) {
		t.Fatalf("got %v, want an answer of the server", err)
	}
	return e
}

func TestSDK(t *testing.T) {
	b := start(t, t.TempDir())
	c := b.sdkClient(secret)
	made, err := c.CreateKey(kms.CreateCreateKeyRequest())
	if err != nil {
		t.Fatal(err)
	}
	id := made.KeyMetadata.KeyId
	alias := kms.CreateCreateAliasRequest()
	alias.AliasName, alias.KeyId = "alias/sdk", id
	if _, err := c.CreateAlias(alias); err != nil {
		t.Fatal(err)
	}
	const text = "-----BEGIN KEY-----\nAA+/== ~*é😀\n"
	e := kms.CreateEncryptRequest()
	e.KeyId, e.Plaintext, e.EncryptionContext = "alias/sdk", text, `{"a":"b c*~"}`
	sealed, err := c.Encrypt(e)
	if err != nil || sealed.KeyId != id {
		t.Fatalf("encrypt: %+v, %v", sealed, err)
	}
	for name, body := range map[string]bool{"query": false, "body": true} {
		d := kms.CreateDecryptRequest()
		d.EncryptionContext = `{"a":"b c*~"}`
		if body {
			d.FormParams["CiphertextBlob"] = sealed.CiphertextBlob
		} else {
			d.CiphertextBlob = sealed.CiphertextBlob
		}
		opened, err := c.Decrypt(d)
		if err != nil || opened.Plaintext != text || opened.KeyId != id || opened.KeyVersionId != made.KeyMetadata.PrimaryKeyVersion {
			t.Errorf("decrypt, %s: %+v, %v", name, opened, err)
		}
	}
	g := kms.CreateGenerateDataKeyRequest()
	g.KeyId, g.NumberOfBytes = "alias/sdk", requests.NewInteger(24)
	if k, err := c.GenerateDataKey(g); err != nil || len(k.Plaintext) != 32 {
		t.Errorf("data key: %+v, %v", k, err)
	}
	if l, err := c.ListKeys(kms.CreateListKeysRequest()); err != nil || l.TotalCount != 1 || l.Keys.Key[0].KeyId != id {
		t.Errorf("keys: %+v, %v", l, err)
	}
	if l, err := c.ListAliases(kms.CreateListAliasesRequest()); err != nil || l.TotalCount != 1 || l.Aliases.Alias[0].AliasName != "alias/sdk" {
		t.Errorf("aliases: %+v, %v", l, err)
	}

	// The SDK compares the server's string to sign with its own, and then
	// knows that only the secret can be wrong.
	_, err = b.sdkClient("another secret").Encrypt(e)
	if se := serverError(t, err); se.ErrorCode() != "SignatureDoesNotMatch" || !strings.HasPrefix(se.Recommend(), "InvalidAccessKeySecret") {
		t.Errorf("wrong secret: %s, %s", se.ErrorCode(), se.Recommend())
	}

	off := kms.CreateDisableKeyRequest()
	off.KeyId = id
	if _, err := c.DisableKey(off); err != nil {
		t.Fatal(err)
	}
	_, err = c.Encrypt(e)
	if se := serverError(t, err); se.HttpStatus() != 409 || se.ErrorCode() != "Rejected.Disabled" || se.RequestId() == "" {
		t.Errorf("disabled key: %v", err)
	}
	b.fault(`{"count":1,"status":429,"code":"Rejected.Throttling","message":"QPS Limit Exceeded"}`)
	_, err = c.Encrypt(e)
	if se := serverError(t, err); se.HttpStatus() != 429 || se.ErrorCode() != "Rejected.Throttling" || se.Message() != "QPS Limit Exceeded" {
		t.Errorf("fault: %v", err)
	}
}
