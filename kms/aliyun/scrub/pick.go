package scrub

import (
	"bytes"
	"errors"
	"fmt"
	"regexp"
)

// The forms that a word of an answer must have.
var (
	RegionForm    = regexp.MustCompile(`^[a-zA-Z0-9_-]+$`) // the SDK's own rule
	CodeForm      = regexp.MustCompile(`^[A-Za-z0-9._-]{1,64}$`)
	RequestIDForm = regexp.MustCompile(`^[A-Za-z0-9-]{1,64}$`)
)

// Picked holds members of an answer as raw JSON strings, by name.
type Picked map[string][]byte

// Pick copies the named members, which must be strings and occur once. What is
// not named stays behind: it never reaches the SDK.
func Pick(body []byte, names ...string) (Picked, error) {
	found := Picked{}
	err := Members(body, func(name, value []byte) error {
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

// Object builds the JSON object that the SDK gets to see.
func (p Picked) Object() []byte {
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

// Text is a member's value if it has the given form, else empty.
func (p Picked) Text(name string, form *regexp.Regexp) string {
	s, err := Unquote(p[name])
	if err != nil || !form.Match(s) {
		return ""
	}
	return string(s)
}

// Refusal picks what may be known of an error body: nothing, unless it is a
// JSON object. Message, Recommend and the like are left behind, for they may
// quote the request, and the SDK panics if one of them is not a string.
func Refusal(body []byte) Picked {
	kept := Picked{}
	for _, name := range []string{"Code", "RequestId"} {
		if p, err := Pick(body, name); err == nil && p[name] != nil {
			kept[name] = p[name]
		}
	}
	for name, form := range map[string]*regexp.Regexp{"Code": CodeForm, "RequestId": RequestIDForm} {
		if kept.Text(name, form) == "" {
			delete(kept, name)
		}
	}
	return kept
}
