package fs

import (
	"fmt"
	"strings"
	"testing"

	"github.com/kmsfs/kmsfs/kms"
	"github.com/kmsfs/kmsfs/kms/aliyun/blobs"
)

func TestWhatIsNoCiphertextSaysWhatItIs(t *testing.T) {
	for text, want := range map[string]string{
		"":                                "empty",
		"age-encryption.org/v1\n":         "age file",
		"-----BEGIN AGE ENCRYPTED FILE--": "age file",
		"<html>":                          "an HTML page",
	} {
		if c := newParsed(blobs.Recogniser{}).parse([]byte(text)); c.err() == nil || !strings.Contains(c.err().Error(), want) {
			t.Errorf("%q: %v, want %q", text, c.err(), want)
		}
	}
}

// sealed is a blob of a service that is none.
type sealed struct{ kms.Blob }

func (s sealed) Under(func(string) bool) kms.Ciphertext { return s }

// allIsBlob takes whatever it is given for a ciphertext.
type allIsBlob struct{}

func (allIsBlob) Recognise(file []byte) kms.Ciphertext { return sealed{kms.Blob{Text: string(file)}} }

func TestParsedIsBoundedByWeight(t *testing.T) {
	p := newParsed(allIsBlob{})
	for i := range 20_000 {
		p.parse(fmt.Appendf(nil, "%d %s", i, strings.Repeat("x", i%3000)))
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
