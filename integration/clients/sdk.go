package clients

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"reflect"

	"github.com/aliyun/alibaba-cloud-sdk-go/sdk"
	"github.com/aliyun/alibaba-cloud-sdk-go/sdk/auth/credentials"
	sdkerrors "github.com/aliyun/alibaba-cloud-sdk-go/sdk/errors"
	"github.com/aliyun/alibaba-cloud-sdk-go/sdk/requests"
	"github.com/aliyun/alibaba-cloud-sdk-go/sdk/responses"
	"github.com/aliyun/alibaba-cloud-sdk-go/services/kms"
)

// sdkClient is Go's first SDK, the one that kmsfs uses, with its typed
// requests and answers.
type sdkClient struct {
	kms            *kms.Client
	transport      *http.Transport
	method, format string
}

// SDK returns a client that calls by GET or POST and asks for JSON or XML.
func SDK(t Target, method, format string) (Client, error) {
	ca, err := os.ReadFile(t.CAFile)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(ca) {
		return nil, fmt.Errorf("no certificate in %s", t.CAFile)
	}
	// No proxy: a transport of our own asks no environment.
	c := &sdkClient{method: method, format: format, transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}}}
	config := sdk.NewConfig().WithScheme("HTTPS").WithAutoRetry(false).WithTimeout(patience)
	config.Transport = hidden{c.transport}
	var provider credentials.CredentialsProvider = credentials.NewStaticAKCredentialsProvider(t.AccessKeyID, t.AccessKeySecret)
	if t.SecurityToken != "" {
		provider = credentials.NewStaticSTSCredentialsProvider(t.AccessKeyID, t.AccessKeySecret, t.SecurityToken)
	}
	if c.kms, err = kms.NewClientWithOptions("cn-hangzhou", config, provider); err != nil {
		return nil, err
	}
	c.kms.Domain = t.Endpoint
	return c, nil
}

// hidden keeps the SDK from changing the transport's settings.
type hidden struct{ http.RoundTripper }

func (c *sdkClient) Close() error {
	c.transport.CloseIdleConnections()
	return nil
}

// sdkCalls makes the request and the answer of an action.
var sdkCalls = map[string]func() (requests.AcsRequest, responses.AcsResponse){
	"CreateKey": func() (requests.AcsRequest, responses.AcsResponse) {
		return kms.CreateCreateKeyRequest(), kms.CreateCreateKeyResponse()
	},
	"CreateAlias": func() (requests.AcsRequest, responses.AcsResponse) {
		return kms.CreateCreateAliasRequest(), kms.CreateCreateAliasResponse()
	},
	"ListAliasesByKeyId": func() (requests.AcsRequest, responses.AcsResponse) {
		return kms.CreateListAliasesByKeyIdRequest(), kms.CreateListAliasesByKeyIdResponse()
	},
	"Encrypt": func() (requests.AcsRequest, responses.AcsResponse) {
		return kms.CreateEncryptRequest(), kms.CreateEncryptResponse()
	},
	"Decrypt": func() (requests.AcsRequest, responses.AcsResponse) {
		return kms.CreateDecryptRequest(), kms.CreateDecryptResponse()
	},
	"ScheduleKeyDeletion": func() (requests.AcsRequest, responses.AcsResponse) {
		return kms.CreateScheduleKeyDeletionRequest(), kms.CreateScheduleKeyDeletionResponse()
	},
	"CancelKeyDeletion": func() (requests.AcsRequest, responses.AcsResponse) {
		return kms.CreateCancelKeyDeletionRequest(), kms.CreateCancelKeyDeletionResponse()
	},
}

func (c *sdkClient) Call(action string, params map[string]string) (Answer, error) {
	make, ok := sdkCalls[action]
	if !ok {
		return nil, fmt.Errorf("the adapter knows no %s", action)
	}
	request, response := make()
	fields := reflect.ValueOf(request).Elem()
	for name, value := range params {
		fields.FieldByName(name).SetString(value)
	}
	request.SetScheme("HTTPS")
	fields.FieldByName("Method").SetString(c.method)
	fields.FieldByName("AcceptFormat").SetString(c.format)
	err := c.kms.DoAction(request, response)
	var refused *sdkerrors.ServerError
	if errors.As(err, &refused) {
		return nil, &Refusal{
			Name: fmt.Sprintf("%T", refused), Code: refused.ErrorCode(), Status: refused.HttpStatus(),
			Message: refused.Message(), RequestID: refused.RequestId(), Recommend: refused.Recommend(),
		}
	}
	if err != nil {
		return nil, err
	}
	// The typed answer, under the service's names.
	text, err := json.Marshal(response)
	if err != nil {
		return nil, err
	}
	var answer Answer
	return answer, json.Unmarshal(text, &answer)
}
