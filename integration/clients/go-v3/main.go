// Go-v3 is the adapter of github.com/alibabacloud-go/kms-20160120/v3, in a
// module of its own so that the product's stays small. See the package clients.
//
// usage: go-v3 ALGORITHM
package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	openapi "github.com/alibabacloud-go/darabonba-openapi/v2/client"
	kms "github.com/alibabacloud-go/kms-20160120/v3/client"
	"github.com/alibabacloud-go/tea/tea"
)

func main() {
	if err := run(os.Args[1], bufio.NewReader(os.Stdin), os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "go-v3:", err)
		os.Exit(1)
	}
}

func run(algorithm string, in *bufio.Reader, out io.Writer) error {
	c := &openapi.Config{
		Endpoint:        tea.String(os.Getenv("KMS_ENDPOINT")),
		AccessKeyId:     tea.String(os.Getenv("KMS_ACCESS_KEY_ID")),
		AccessKeySecret: tea.String(os.Getenv("KMS_ACCESS_KEY_SECRET")),
		ReadTimeout:     tea.Int(15000),
	}
	if token := os.Getenv("KMS_SECURITY_TOKEN"); token != "" {
		c.SecurityToken = &token
	}
	if algorithm != "" {
		c.SignatureAlgorithm = &algorithm
	}
	client, err := kms.NewClient(c)
	if err != nil {
		return err
	}
	for {
		line, err := in.ReadBytes('\n')
		if err == io.EOF {
			return nil
		} else if err != nil {
			return err
		}
		var asked struct {
			Action string
			Params map[string]any
		}
		if err := json.Unmarshal(line, &asked); err != nil {
			return err
		}
		perform, ok := calls[asked.Action]
		if !ok {
			return fmt.Errorf("the adapter knows no %s", asked.Action)
		}
		body, err := perform(client, asked.Params)
		var refused *tea.SDKError
		switch {
		case errors.As(err, &refused) && refused.StatusCode != nil:
			var data struct{ RequestId, Recommend string }
			json.Unmarshal([]byte(tea.StringValue(refused.Data)), &data)
			err = json.NewEncoder(out).Encode(map[string]any{"refusal": map[string]any{
				"Name": fmt.Sprintf("%T", refused), "Code": refused.Code, "Status": refused.StatusCode,
				"Message": refused.Message, "RequestID": data.RequestId, "Recommend": data.Recommend,
			}})
		case err == nil:
			err = json.NewEncoder(out).Encode(map[string]any{"answer": body})
		}
		if err != nil {
			return err
		}
	}
}

// calls performs actions with the SDK's typed requests and answers.
var calls = map[string]func(*kms.Client, map[string]any) (any, error){
	"CreateKey":          typed((*kms.Client).CreateKey),
	"CreateAlias":        typed((*kms.Client).CreateAlias),
	"ListAliasesByKeyId": typed((*kms.Client).ListAliasesByKeyId),
	"Encrypt":            typed((*kms.Client).Encrypt),
	"Decrypt":            typed((*kms.Client).Decrypt),
}

func typed[Q, R any](do func(*kms.Client, *Q) (*R, error)) func(*kms.Client, map[string]any) (any, error) {
	return func(client *kms.Client, params map[string]any) (any, error) {
		// This SDK takes an encryption context as a map.
		if text, ok := params["EncryptionContext"].(string); ok {
			var context map[string]any
			if err := json.Unmarshal([]byte(text), &context); err != nil {
				return nil, err
			}
			params["EncryptionContext"] = context
		}
		request := new(Q)
		if err := tea.Convert(params, request); err != nil {
			return nil, err
		}
		out, err := do(client, request)
		if err != nil {
			return nil, err
		}
		return tea.ToMap(out)["body"], nil
	}
}
