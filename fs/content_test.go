package fs

import (
	"fmt"
	"strings"
	"testing"

	"github.com/kmsfs/kmsfs/kms/aliyun/blobs"
)

func TestParseContent(t *testing.T) {
	for text, want := range map[string]string{
		"":                                "empty",
		"age-encryption.org/v1\n":         "age file",
		"-----BEGIN AGE ENCRYPTED FILE--": "age file",
		"<html>":                          "an HTML page",
	} {
		if c := parseContent(blobs.Recogniser{}, []byte(text), false); !strings.Contains(c.bad, want) {
			t.Errorf("%q: %q, want %q", text, c.bad, want)
		}
	}
	if c := parseContent(blobs.Recogniser{}, nil, true); !strings.Contains(c.bad, "longer") {
		t.Errorf("too long: %q", c.bad)
	}
}

func TestParsedIsBounded(t *testing.T) {
	p := newParsed(blobs.Recogniser{})
	for i := range 20_000 {
		p.parse(fmt.Appendf(nil, "no ciphertext %d %s", i, strings.Repeat("x", i%3000)), false)
		if p.bytes > parsedMax || p.bytes < 0 {
			t.Fatalf("%d contents weigh %d", p.known.Len(), p.bytes)
		}
	}
	sum := 0
	for _, c := range p.known.Values() {
		sum += c.weight()
	}
	if sum != p.bytes || sum < parsedMax/2 {
		t.Errorf("%d contents weigh %d, counted %d", p.known.Len(), sum, p.bytes)
	}
}
