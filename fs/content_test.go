package fs

import (
	"fmt"
	"strings"
	"testing"

	"github.com/kmsfs/kmsfs/kms"
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

// allIsBlob takes whatever it is given for a ciphertext.
type allIsBlob struct{ kms.Recogniser }

func (allIsBlob) Recognise(file []byte) (kms.Blob, error) { return kms.Blob{Text: string(file)}, nil }

func TestParsedIsBoundedByWeight(t *testing.T) {
	p := newParsed(allIsBlob{})
	for i := range 20_000 {
		p.parse(fmt.Appendf(nil, "%d %s", i, strings.Repeat("x", i%3000)), false)
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
