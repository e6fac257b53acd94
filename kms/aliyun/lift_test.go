package aliyun

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestUnquote(t *testing.T) {
	for raw, want := range map[string]string{
		`""`:                         "",
		`"abc"`:                      "abc",
		`"\"\\\/\b\f\n\r\t"`:         "\"\\/\b\f\n\r\t",
		`"\u0000\u001f\u00e9\u4e2D"`: "\x00\x1f\u00e9\u4e2d",
		`"\ud83d\udd11"`:             "\U0001F511",
		`"\uFFFD\ufffd"`:             "\ufffd\ufffd",
		"\"\U0001F511\ufffd\x7f\"":   "\U0001F511\ufffd\x7f",
	} {
		if got, err := unquote([]byte(raw)); err != nil || string(got) != want {
			t.Errorf("%s: %q, %v", raw, got, err)
		}
	}
	for _, raw := range []string{
		"", `"`, "abc", `"abc`, `abc"`, `"a"b"`, `"\"`, `"\x"`, `"\u"`, `"\u12"`, `"\u12g4"`, `"\U0041"`,
		`"\ud800"`, `"\udc00"`, `"\ud800\ud800"`, `"\ud800x"`, `"\ud800\n"`, `"\ud800\u0041"`, `"\ud800\udc"`,
		"\"\xff\"", "\"\xc0\x80\"", "\"\xed\xa0\x80\"", "\"\x00\"", "\"\n\"", "true", "{}",
	} {
		if got, err := unquote([]byte(raw)); err == nil {
			t.Errorf("%s: accepted as %q", raw, got)
		}
	}
}

// The memory that unquote hands out is the only memory it wrote.
func TestUnquoteNeverGrows(t *testing.T) {
	raw := []byte(`"` + strings.Repeat(`\u4e2d\ud83d\udd11x\n`, 1000) + `"`)
	if n := testing.AllocsPerRun(10, func() { unquote(raw) }); n != 1 {
		t.Errorf("%v allocations, want 1", n)
	}
}

func TestMembers(t *testing.T) {
	for body, want := range map[string]string{
		`{}`:      "",
		" {\n}\t": "",
		`{"a":1}`: "a=1;",
		` { "a" : [1,{"b":"]}"},"\""] , "c" : {"d":"}\\"} , "\u0065":"x" } `: `a=[1,{"b":"]}"},"\""];c={"d":"}\\"};e="x";`,
		`{"a":-1.5e+3,"b":true,"c":null,"d":"","a":""}`:                      `a=-1.5e+3;b=true;c=null;d="";a="";`,
		`{"":{"":{"":{}}}}`: `={"":{"":{}}};`,
	} {
		var got strings.Builder
		err := members([]byte(body), func(name, value []byte) error {
			got.WriteString(string(name) + "=" + string(value) + ";")
			return nil
		})
		if err != nil || got.String() != want {
			t.Errorf("%s: %s, %v; want %s", body, got.String(), err, want)
		}
	}
	for _, body := range []string{"", " ", "[]", "1", `"x"`, "null", "{", `{"a"}`, `{"a":}`, `{"a":1,}`, `{a:1}`, "{}x", `{"a":"` + "\x01" + `"}`} {
		if err := members([]byte(body), func(_, _ []byte) error { return nil }); err != errNotJSON {
			t.Errorf("%s: %v", body, err)
		}
	}
}

var answerSeeds = []string{
	decryptAnswer(plaintext), decryptAnswer(""), encryptAnswer("QUJD"), "{}", "", "null", "[]", `{"Plaintext":true}`,
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
			p, err := pick(body, names...)
			if err != nil {
				continue
			}
			var seen map[string]string
			if err := json.Unmarshal(p.object(), &seen); err != nil || len(seen) > len(names) {
				t.Fatalf("%s: %v", p.object(), err)
			}
		}
		x := &exchange{op: operation{action: "Decrypt"}, status: status}
		e := x.refused(body)
		if e.Class == nil || e.Code != "" && !codeForm.MatchString(e.Code) || e.RequestID != "" && !requestIDForm.MatchString(e.RequestID) {
			t.Fatalf("%+v", e)
		}
		_ = keyMetadata(body)
		got, err := readAnswer(bytes.NewReader(body), int64(len(body)), maxAnswer)
		if len(body) <= maxAnswer && (err != nil || !bytes.Equal(got, body)) {
			t.Fatalf("read %d of %d bytes, %v", len(got), len(body), err)
		}
	})
}
