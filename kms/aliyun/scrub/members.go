package scrub

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

var (
	errNotJSON   = errors.New("answer is not a JSON object")
	errNotString = errors.New("not a JSON string")
	errBadString = errors.New("malformed JSON string")
)

// Members calls visit with the name and the raw value of every member of the
// JSON object in body, in order. Both alias body: nothing becomes a Go string,
// which could not be wiped. json.Valid has judged the syntax first (it keeps
// and copies nothing), so the walk only has to find where things end.
func Members(body []byte, visit func(name, value []byte) error) error {
	if !json.Valid(body) {
		return errNotJSON
	}
	body = bytes.Trim(body, " \t\r\n")
	if body[0] != '{' {
		return errNotJSON
	}
	for p := skip(body, 1); p < len(body) && body[p] == '"'; {
		end := valueEnd(body, p)
		name := nameOf(body[p:end])
		p = skip(body, skip(body, end)+1) // over the colon
		end = valueEnd(body, p)
		if err := visit(name, body[p:end]); err != nil {
			return err
		}
		p = skip(body, skip(body, end)+1) // over the comma or the last brace
	}
	return nil
}

func skip(b []byte, p int) int {
	for p < len(b) && (b[p] == ' ' || b[p] == '\t' || b[p] == '\r' || b[p] == '\n') {
		p++
	}
	return p
}

// valueEnd returns the index behind the valid JSON value that starts at p.
func valueEnd(b []byte, p int) int {
	depth := 0
	for p < len(b) {
		switch b[p] {
		case '"':
			for p++; p < len(b) && b[p] != '"'; p++ {
				if b[p] == '\\' {
					p++
				}
			}
			p++
		case '{', '[':
			depth++
			p++
		case '}', ']':
			depth--
			p++
		case ' ', '\t', '\r', '\n', ',', ':':
			p++
			continue
		default:
			for p < len(b) && strings.IndexByte(" \t\r\n,:{}[]\"", b[p]) < 0 {
				p++
			}
		}
		if depth == 0 {
			break
		}
	}
	return min(p, len(b))
}

// nameOf unescapes a member's name: "Plain\u0074ext" is Plaintext. A name that
// cannot be unescaped is none that is looked for.
func nameOf(raw []byte) []byte {
	if name, err := Unquote(raw); err == nil {
		return name
	}
	return raw
}

// Unquote returns the bytes that a JSON string stands for, in fresh memory
// that is written once and never grown, so that no second copy is left behind.
// It is stricter than encoding/json, which turns lone surrogates and invalid
// UTF-8 into U+FFFD and so would serve an altered plaintext.
func Unquote(raw []byte) ([]byte, error) {
	if len(raw) < 2 || raw[0] != '"' || raw[len(raw)-1] != '"' {
		return nil, errNotString
	}
	s := raw[1 : len(raw)-1]
	out := make([]byte, 0, len(s)) // no escape is shorter than what it stands for
	for len(s) > 0 {
		r, n := utf8.DecodeRune(s)
		switch {
		case r == '\\':
			r, n = unescape(s)
		case r < ' ', r == '"', r == utf8.RuneError && n == 1:
			n = 0
		}
		if n == 0 {
			clear(out)
			return nil, errBadString
		}
		out = utf8.AppendRune(out, r)
		s = s[n:]
	}
	return out, nil
}

// unescape reads the escape at the start of s; n is 0 if it is none.
func unescape(s []byte) (r rune, n int) {
	if len(s) < 2 {
		return 0, 0
	}
	switch s[1] {
	case '"', '\\', '/':
		return rune(s[1]), 2
	case 'b':
		return '\b', 2
	case 'f':
		return '\f', 2
	case 'n':
		return '\n', 2
	case 'r':
		return '\r', 2
	case 't':
		return '\t', 2
	}
	r, ok := hex4(s)
	if !ok {
		return 0, 0
	}
	if !utf16.IsSurrogate(r) {
		return r, 6
	}
	low, ok := hex4(s[6:])
	if !ok {
		return 0, 0
	}
	if r = utf16.DecodeRune(r, low); r == utf8.RuneError {
		return 0, 0
	}
	return r, 12
}

// hex4 reads \uXXXX.
func hex4(s []byte) (rune, bool) {
	if len(s) < 6 || s[0] != '\\' || s[1] != 'u' {
		return 0, false
	}
	var r rune
	for _, c := range s[2:6] {
		switch {
		case '0' <= c && c <= '9':
			c -= '0'
		case 'a' <= c && c <= 'f':
			c -= 'a' - 10
		case 'A' <= c && c <= 'F':
			c -= 'A' - 10
		default:
			return 0, false
		}
		r = r<<4 | rune(c)
	}
	return r, true
}
