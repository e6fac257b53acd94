package fs

import (
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
