package main

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
		`{"verb":"flush","paths":[` + strings.Repeat(`"Lg==",`, maxFlushPaths) + `"Lg=="]}`,
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
		if r.Verb != "status" && r.Verb != "flush" || len(r.Paths) > maxFlushPaths || r.Verb == "status" && len(r.Paths) > 0 {
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

// A path is understood by its text: relative to the mount, or beneath the
// mountpoint as it was typed or as the mount table has it.
func TestBeneath(t *testing.T) {
	for _, c := range []struct{ path, want string }{
		{"key.pem", "key.pem"}, {"./a//b/", "a/b"}, {"a/../b", "b"}, {".", "."}, {"..", ""}, {"a/../../b", ""}, {"", ""}, {"a\x00b", ""},
		{"/run/certs", "."}, {"/run/certs/a", "a"}, {"/run/certs/", "."}, {"/link/a", "a"}, {"/link/../run/certs/a", "a"},
		{"/run/certs2/a", ""}, {"/run", ""}, {"/", ""}, {"/run/certs/../x", ""},
	} {
		got, ok := beneath("/link", "/run/certs", c.path)
		if ok != (c.want != "") || ok && got != c.want {
			t.Errorf("%q: %q, %t; want %q", c.path, got, ok, c.want)
		}
	}
}

func TestASCIIJSON(t *testing.T) {
	in, err := json.Marshal("plain é \u009b \u202e \U0001f511 \x7f")
	if err != nil {
		t.Fatal(err)
	}
	out := asciiJSON(in)
	if strings.ContainsFunc(out, func(r rune) bool { return r < 0x20 || r > 0x7e }) {
		t.Errorf("%q", out)
	}
	var back string
	if err := json.Unmarshal([]byte(out), &back); err != nil || back != "plain é \u009b \u202e \U0001f511 \x7f" {
		t.Errorf("%q, %v", back, err)
	}
}
