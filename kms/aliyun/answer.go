package aliyun

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"regexp"

	"github.com/kmsfs/kmsfs/kms/aliyun/scrub"
)

const (
	// maxAnswer bounds an answer. The longest honest one, 6144 bytes of
	// plaintext all written as \u escapes, has 37 KiB.
	maxAnswer = 64 << 10
	// maxList bounds an answer that is a page of a list. The longest honest
	// one names 100 aliases of 261 characters twice each, and has 336 KiB if
	// all of them are \u escapes.
	maxList = 512 << 10
)

// longest bounds the answer to an operation.
func (op operation) longest() int64 {
	switch op.action {
	case "ListKeys", "ListAliases", "ListAliasesByKeyId":
		return maxList
	}
	return maxAnswer
}

var (
	errTooLong     = errors.New("answer too long")
	errCut         = errors.New("answer cut short")
	errNoRequestID = errors.New("member RequestId is missing or malformed")
)

var (
	keyIDForm     = regexp.MustCompile(`^[A-Za-z0-9._:/-]{1,256}$`)
	versionIDForm = regexp.MustCompile(`^[A-Za-z0-9-]{1,64}$`)
)

// readAnswer reads a body into one buffer that never grows, so that wiping it
// leaves no earlier copy behind. length is the Content-Length, or -1; longest is
// the bound.
func readAnswer(body io.Reader, length, longest int64) ([]byte, error) {
	if length > longest {
		return nil, errTooLong
	}
	if length < 0 {
		length = longest
	}
	buf := make([]byte, length+1) // one more byte, to see the end
	n := 0
	for n < len(buf) {
		m, err := body.Read(buf[n:])
		n += m
		if err == io.EOF {
			return buf[:n], nil
		}
		if err != nil {
			clear(buf)
			return nil, err
		}
	}
	clear(buf)
	return nil, errTooLong
}

// checkOrigin requires what every honest answer has. The SDK takes {} for a success,
// and true for a string.
func checkOrigin(p scrub.Picked) error {
	for _, m := range []struct {
		name string
		form *regexp.Regexp
	}{{"RequestId", scrub.RequestIDForm}, {"KeyId", keyIDForm}, {"KeyVersionId", versionIDForm}} {
		if p.Text(m.name, m.form) == "" {
			return errors.New("member " + m.name + " is missing or malformed")
		}
	}
	return nil
}

// liftPlaintext takes the member Plaintext out of a Decrypt answer. The caller
// owns what it returns.
func liftPlaintext(body []byte) ([]byte, error) {
	var plaintext []byte
	err := scrub.Members(body, func(name, value []byte) error {
		if string(name) != "Plaintext" {
			return nil
		}
		if plaintext != nil {
			return errors.New("member Plaintext occurs twice")
		}
		var err error
		if plaintext, err = scrub.Unquote(value); err != nil {
			return errors.New("member Plaintext is " + err.Error())
		}
		return nil
	})
	if err == nil && plaintext == nil {
		err = errors.New("member Plaintext is missing")
	}
	if err != nil {
		clear(plaintext)
		return nil, err
	}
	return plaintext, nil
}

// keyMetadata checks that a CreateKey answer names the new key.
func keyMetadata(body []byte) error {
	var keyID string
	err := scrub.Members(body, func(name, value []byte) error {
		if string(name) != "KeyMetadata" {
			return nil
		}
		p, err := scrub.Pick(value, "KeyId")
		keyID = p.Text("KeyId", keyIDForm)
		return err
	})
	if err == nil && keyID == "" {
		err = errors.New("member KeyMetadata names no key")
	}
	return err
}

// verbatim copies an answer that holds no secret.
func verbatim(body []byte) json.RawMessage { return bytes.Clone(body) }
