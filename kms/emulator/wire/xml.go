package wire

import (
	"bytes"
	"encoding/xml"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"unicode/utf8"
)

// errorRoot is the root of an error in XML (seen with clients of the gateway;
// the pages of KMS print KMS).
const errorRoot = "Error"

// successRoot is the root of a success: the newer pages of KMS print
// <EncryptResponse> and so on, the older ones <KMS>. No known client looks.
func successRoot(action string) string { return action + "Response" }

// toXML writes an answer as elements in the order of their names. A list is
// its element repeated. Line ends and tabs are written as references, because
// a parser would change them otherwise. What XML 1.0 cannot say at all (NUL,
// for one) becomes U+FFFD; see representable.
func toXML(root string, v map[string]any) []byte {
	b := bytes.NewBufferString(`<?xml version="1.0" encoding="UTF-8"?>`)
	element(b, root, v)
	return b.Bytes()
}

func element(b *bytes.Buffer, name string, v any) {
	b.WriteString("<" + name + ">")
	switch v := v.(type) {
	case string:
		xml.EscapeText(b, []byte(v)) // a Buffer takes everything
	case int:
		b.WriteString(strconv.Itoa(v))
	case bool:
		b.WriteString(strconv.FormatBool(v))
	case map[string]any:
		elements(b, v)
	case map[string]string:
		elements(b, v)
	default:
		panic(fmt.Sprintf("%s: %T in an answer", name, v))
	}
	b.WriteString("</" + name + ">")
}

func elements[V any](b *bytes.Buffer, m map[string]V) {
	for _, name := range slices.Sorted(maps.Keys(m)) {
		switch list := any(m[name]).(type) {
		case []map[string]string:
			repeat(b, name, list)
		case []map[string]any:
			repeat(b, name, list)
		case []string:
			repeat(b, name, list)
		default:
			element(b, name, list)
		}
	}
}

func repeat[V any](b *bytes.Buffer, name string, list []V) {
	for _, item := range list {
		element(b, name, item)
	}
}

// Representable says whether XML 1.0 can carry a string unchanged. The service's
// answer for a plaintext that it cannot is not documented; chosen: a refusal
// rather than another plaintext.
func Representable(s string) bool {
	for i, r := range s {
		if r == utf8.RuneError {
			if _, size := utf8.DecodeRuneInString(s[i:]); size == 1 {
				return false
			}
		}
		if r < ' ' && r != '\t' && r != '\n' && r != '\r' || r == 0xFFFE || r == 0xFFFF {
			return false
		}
	}
	return true
}
