package main

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net/http"
	"os"
	"strings"

	"github.com/aliyun/alibaba-cloud-sdk-go/sdk"
	"github.com/aliyun/alibaba-cloud-sdk-go/sdk/auth/credentials"
	"github.com/aliyun/alibaba-cloud-sdk-go/services/kms"

	"github.com/kmsfs/kmsfs/integration/lab"
)

// sdkClient is the vendor's SDK and nothing else, with a connection that it
// keeps. It is not safe for concurrent use.
type sdkClient struct{ *kms.Client }

func newSDK(l *lab.Lab) (*sdkClient, error) {
	env := map[string]string{}
	for _, e := range l.Env() {
		name, value, _ := strings.Cut(e, "=")
		env[name] = value
	}
	pem, err := os.ReadFile(l.CAFile)
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("%s has no certificate", l.CAFile)
	}
	cfg := sdk.NewConfig().WithScheme("HTTPS").WithHttpTransport(&http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}})
	client, err := kms.NewClientWithOptions(lab.Region, cfg,
		credentials.NewStaticAKCredentialsProvider(env["ALIBABA_CLOUD_ACCESS_KEY_ID"], env["ALIBABA_CLOUD_ACCESS_KEY_SECRET"]))
	if err != nil {
		return nil, err
	}
	client.Domain = l.Endpoint
	return &sdkClient{client}, nil
}

func (c *sdkClient) encrypt(plaintext string) (string, error) {
	r := kms.CreateEncryptRequest()
	r.KeyId, r.Plaintext = lab.Alias, plaintext
	answer, err := c.Encrypt(r)
	if err != nil {
		return "", err
	}
	return answer.CiphertextBlob, nil
}

func (c *sdkClient) decrypt(blob string) (string, error) {
	r := kms.CreateDecryptRequest()
	r.CiphertextBlob = blob
	answer, err := c.Decrypt(r)
	if err != nil {
		return "", err
	}
	return answer.Plaintext, nil
}
