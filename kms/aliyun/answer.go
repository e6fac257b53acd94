package aliyun

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
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
	codeForm      = regexp.MustCompile(`^[A-Za-z0-9._-]{1,64}$`)
	requestIDForm = regexp.MustCompile(`^[A-Za-z0-9-]{1,64}$`)
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

// picked holds members of an answer as raw JSON strings, by name.
type picked map[string][]byte

// pick copies the named members, which must be strings and occur once. What is
// not named stays behind: it never reaches the SDK.
func pick(body []byte, names ...string) (picked, error) {
	found := picked{}
	err := members(body, func(name, value []byte) error {
		for _, want := range names {
			if string(name) != want {
				continue
			}
			if found[want] != nil {
				return errors.New("member " + want + " occurs twice")
			}
			if value[0] != '"' {
				return errors.New("member " + want + " is not a string")
			}
			found[want] = bytes.Clone(value)
		}
		return nil
	})
	return found, err
}

// object builds the JSON object that the SDK gets to see.
func (p picked) object() []byte {
	var b bytes.Buffer
	b.WriteByte('{')
	for name, raw := range p {
		if b.Len() > 1 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, "%q:", name)
		b.Write(raw)
	}
	b.WriteByte('}')
	return b.Bytes()
}

// text is a member's value if it has the given form, else empty.
func (p picked) text(name string, form *regexp.Regexp) string {
	s, err := unquote(p[name])
	if err != nil || !form.Match(s) {
		return ""
	}
	return string(s)
}

// origin requires what every honest answer has. The SDK takes {} for a success,
// and true for a string.
func (p picked) origin() error {
	for _, m := range []struct {
		name string
		form *regexp.Regexp
	}{{"RequestId", requestIDForm}, {"KeyId", keyIDForm}, {"KeyVersionId", versionIDForm}} {
		if p.text(m.name, m.form) == "" {
			return errors.New("member " + m.name + " is missing or malformed")
		}
	}
	return nil
}

// refusal picks what may be known of an error body: nothing, unless it is a
// JSON object. Message, Recommend and the like are left behind, for they may
// quote the request, and the SDK panics if one of them is not a string.
func refusal(body []byte) picked {
	kept := picked{}
	for _, name := range []string{"Code", "RequestId"} {
		if p, err := pick(body, name); err == nil && p[name] != nil {
			kept[name] = p[name]
		}
	}
	for name, form := range map[string]*regexp.Regexp{"Code": codeForm, "RequestId": requestIDForm} {
		if kept.text(name, form) == "" {
			delete(kept, name)
		}
	}
	return kept
}

// liftPlaintext takes the member Plaintext out of a Decrypt answer. The caller
// owns what it returns.
func liftPlaintext(body []byte) ([]byte, error) {
	var plaintext []byte
	err := members(body, func(name, value []byte) error {
		if string(name) != "Plaintext" {
			return nil
		}
		if plaintext != nil {
			return errors.New("member Plaintext occurs twice")
		}
		var err error
		if plaintext, err = unquote(value); err != nil {
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
	err := members(body, func(name, value []byte) error {
		if string(name) != "KeyMetadata" {
			return nil
		}
		p, err := pick(value, "KeyId")
		keyID = p.text("KeyId", keyIDForm)
		return err
	})
	if err == nil && keyID == "" {
		err = errors.New("member KeyMetadata names no key")
	}
	return err
}

// verbatim copies an answer that holds no secret.
func verbatim(body []byte) json.RawMessage { return bytes.Clone(body) }
