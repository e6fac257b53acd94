package scrub

import (
	"strings"
	"testing"
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
		if got, err := Unquote([]byte(raw)); err != nil || string(got) != want {
			t.Errorf("%s: %q, %v", raw, got, err)
		}
	}
	for _, raw := range []string{
		"", `"`, "abc", `"abc`, `abc"`, `"a"b"`, `"\"`, `"\x"`, `"\u"`, `"\u12"`, `"\u12g4"`, `"\U0041"`,
		`"\ud800"`, `"\udc00"`, `"\ud800\ud800"`, `"\ud800x"`, `"\ud800\n"`, `"\ud800\u0041"`, `"\ud800\udc"`,
		"\"\xff\"", "\"\xc0\x80\"", "\"\xed\xa0\x80\"", "\"\x00\"", "\"\n\"", "true", "{}",
	} {
		if got, err := Unquote([]byte(raw)); err == nil {
			t.Errorf("%s: accepted as %q", raw, got)
		}
	}
}

// The memory that unquote hands out is the only memory it wrote.
func TestUnquoteNeverGrows(t *testing.T) {
	raw := []byte(`"` + strings.Repeat(`\u4e2d\ud83d\udd11x\n`, 1000) + `"`)
	if n := testing.AllocsPerRun(10, func() { Unquote(raw) }); n != 1 {
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
		err := Members([]byte(body), func(name, value []byte) error {
			got.WriteString(string(name) + "=" + string(value) + ";")
			return nil
		})
		if err != nil || got.String() != want {
			t.Errorf("%s: %s, %v; want %s", body, got.String(), err, want)
		}
	}
	for _, body := range []string{"", " ", "[]", "1", `"x"`, "null", "{", `{"a"}`, `{"a":}`, `{"a":1,}`, `{a:1}`, "{}x", `{"a":"` + "\x01" + `"}`} {
		if err := Members([]byte(body), func(_, _ []byte) error { return nil }); err != errNotJSON {
			t.Errorf("%s: %v", body, err)
		}
	}
}
