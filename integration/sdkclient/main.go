// Command sdkclient is a client of the key service that knows nothing but the
// vendor's SDK: encrypt KEYID and decrypt, from standard input to standard
// output.
package main

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net/http"
	"os"

	"github.com/aliyun/alibaba-cloud-sdk-go/sdk"
	"github.com/aliyun/alibaba-cloud-sdk-go/sdk/auth/credentials"
	"github.com/aliyun/alibaba-cloud-sdk-go/services/kms"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(args []string) error {
	pem, err := os.ReadFile(os.Getenv("KMSFS_CA_FILE"))
	if err != nil {
		return err
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	cfg := sdk.NewConfig().WithScheme("HTTPS").WithHttpTransport(&http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}})
	client, err := kms.NewClientWithOptions(os.Getenv("ALIBABA_CLOUD_REGION_ID"), cfg,
		credentials.NewStaticAKCredentialsProvider(os.Getenv("ALIBABA_CLOUD_ACCESS_KEY_ID"), os.Getenv("ALIBABA_CLOUD_ACCESS_KEY_SECRET")))
	if err != nil {
		return err
	}
	client.Domain = os.Getenv("KMSFS_ENDPOINT")
	in, err := io.ReadAll(os.Stdin)
	if err != nil {
		return err
	}
	out := ""
	switch {
	case len(args) == 2 && args[0] == "encrypt":
		r := kms.CreateEncryptRequest()
		r.KeyId, r.Plaintext = args[1], string(in)
		answer, err := client.Encrypt(r)
		if err != nil {
			return err
		}
		out = answer.CiphertextBlob
	case len(args) == 1 && args[0] == "decrypt":
		r := kms.CreateDecryptRequest()
		r.CiphertextBlob = string(in)
		answer, err := client.Decrypt(r)
		if err != nil {
			return err
		}
		out = answer.Plaintext
	default:
		return fmt.Errorf("usage: sdkclient encrypt KEYID | decrypt")
	}
	_, err = io.WriteString(os.Stdout, out)
	return err
}
