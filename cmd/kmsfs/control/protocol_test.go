package control

import (
	"bytes"
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"
)

func TestParseRequest(t *testing.T) {
	for _, good := range []string{
		`{"verb":"status"}`,
		` {"verb":"flush"} ` + "\n", `{"verb":"reload"}`,
		`{"verb":"flush","paths":["a2V5LnBlbQ==","Lg=="]}`, // key.pem and .
	} {
		if _, err := parseRequest([]byte(good)); err != nil {
			t.Errorf("%s: %v", good, err)
		}
	}
	for _, bad := range []string{
		"", "{}", "null", "[]", `"status"`, `{"verb":""}`, `{"verb":"stop"}`, `{"verb":"status"}{"verb":"flush"}`, `{"verb":"status"} x`,
		`{"verb":"status","paths":["Lg=="]}`, `{"verb":"status","more":1}`, `{"verb":"reload","paths":["Lg=="]}`, `{"verb":"flush","paths":"Lg=="}`,
		`{"verb":"flush","paths":["a"]}`,            // no base64
		`{"verb":"flush","paths":[""]}`,             // empty
		`{"verb":"flush","paths":["Li4vYQ=="]}`,     // ../a
		`{"verb":"flush","paths":["L2V0Yw=="]}`,     // /etc
		`{"verb":"flush","paths":["YQBi"]}`,         // a NUL b
		`{"verb":"flush","paths":["YS8uLi9iLw=="]}`, // a/../b/
		`{"verb":"flush","paths":[` + strings.Repeat(`"Lg==",`, MaxFlushPaths) + `"Lg=="]}`,
	} {
		if r, err := parseRequest([]byte(bad)); err == nil {
			t.Errorf("%.80s gives %+v", bad, r)
		}
	}
}

func FuzzParseRequest(f *testing.F) {
	f.Add([]byte(`{"verb":"flush","paths":["a2V5LnBlbQ=="]}`))
	f.Add([]byte(`{"verb":"status"}`))
	f.Fuzz(func(t *testing.T, line []byte) {
		r, err := parseRequest(line)
		if err != nil {
			if bytes.ContainsFunc([]byte(err.Error()), func(r rune) bool { return r < 0x20 || r > 0x7e }) {
				t.Fatalf("the error of %q is %q", line, err)
			}
			return
		}
		if r.Verb != "status" && r.Verb != "flush" && r.Verb != "reload" || len(r.Paths) > MaxFlushPaths || r.Verb != "flush" && len(r.Paths) > 0 {
			t.Fatalf("%q gives %+v", line, r)
		}
		for _, p := range r.Paths {
			if !filepath.IsLocal(string(p)) || bytes.Contains(p, []byte{0}) {
				t.Fatalf("%q gives the path %q", line, p)
			}
		}
		again, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := parseRequest(again); err != nil {
			t.Fatalf("%q gives %s, which gives %v", line, again, err)
		}
	})
}
