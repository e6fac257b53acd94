package aliyun

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/kmsfs/kmsfs/kms/aliyun/cloudtest"
	"github.com/kmsfs/kmsfs/kms/aliyun/scrub"
)

var answerSeeds = []string{
	cloudtest.DecryptAnswer(plaintext), cloudtest.DecryptAnswer(""), encryptAnswer("QUJD"), "{}", "", "null", "[]", `{"Plaintext":true}`,
	`{"Plaintext":"\ud83d\udd11\u0000\/"}`, `{"Plaintext":"\ud800"}`, `{"Plain\u0074ext":"x"}`, `{"Plaintext":"a","Plaintext":"b"}`,
	`{"a":{"Plaintext":"no"},"Plaintext" : "yes" }`, "{\"Plaintext\":\"\xff\"}", `{"Code":404}`, `{"KeyMetadata":{"KeyId":"k"},"RequestId":"r"}`,
	`{"Code":"InvalidParameter","RequestId":"r","Message":"m"}`, `{"a":[[[{"b":"\\\""}]]],"Plaintext":"\\"}`,
}

// What is lifted is what encoding/json reads, and what encoding/json reads as
// one unaltered string is lifted.
func FuzzLift(f *testing.F) {
	for _, s := range answerSeeds {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		before := bytes.Clone(body)
		got, err := liftPlaintext(body)
		if !bytes.Equal(body, before) {
			t.Fatal("the body was changed")
		}
		var all map[string]json.RawMessage
		jsonErr := json.Unmarshal(body, &all)
		if err == nil {
			var want string
			if jsonErr != nil || json.Unmarshal(all["Plaintext"], &want) != nil || want != string(got) {
				t.Fatalf("lifted %q, encoding/json %q, %v", got, want, jsonErr)
			}
			return
		}
		var want string
		if jsonErr != nil || all["Plaintext"] == nil || all["Plaintext"][0] != '"' || json.Unmarshal(all["Plaintext"], &want) != nil {
			return
		}
		// encoding/json accepts: only its repairs and duplicates excuse us.
		excused := strings.Contains(want, "\ufffd") || !utf8.Valid(body) || strings.Contains(err.Error(), "twice")
		if !excused {
			t.Fatalf("%v, but encoding/json reads %q", err, want)
		}
	})
}

// Whatever arrives, the answer path does not panic, and what it shows the SDK
// is a JSON object of strings without the plaintext.
func FuzzAnswer(f *testing.F) {
	for _, s := range answerSeeds {
		f.Add([]byte(s), 200)
		f.Add([]byte(s), 400)
	}
	f.Fuzz(func(t *testing.T, body []byte, status int) {
		for _, names := range [][]string{{"KeyId", "KeyVersionId", "RequestId"}, {"RequestId"}, {"CiphertextBlob"}} {
			p, err := scrub.Pick(body, names...)
			if err != nil {
				continue
			}
			var seen map[string]string
			if err := json.Unmarshal(p.Object(), &seen); err != nil || len(seen) > len(names) {
				t.Fatalf("%s: %v", p.Object(), err)
			}
		}
		x := &exchange{op: operation{action: "Decrypt"}, status: status}
		e := x.refused(body)
		if e.Class == nil || e.Code != "" && !scrub.CodeForm.MatchString(e.Code) || e.RequestID != "" && !scrub.RequestIDForm.MatchString(e.RequestID) {
			t.Fatalf("%+v", e)
		}
		_ = keyMetadata(body)
		got, err := readAnswer(bytes.NewReader(body), int64(len(body)), maxAnswer)
		if len(body) <= maxAnswer && (err != nil || !bytes.Equal(got, body)) {
			t.Fatalf("read %d of %d bytes, %v", len(got), len(body), err)
		}
	})
}
