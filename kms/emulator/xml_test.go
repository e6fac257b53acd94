package emulator_test

import (
	"encoding/xml"
	"net/http"
	"net/url"
	"strings"
	"testing"
)

// asXML performs an action and decodes its answer into v.
func (b *bench) asXML(v any, status int, root, action string, pairs ...string) string {
	b.t.Helper()
	r := b.call(action, append(pairs, "Format", "XML")...)
	if ct := r.header.Get("Content-Type"); r.status != status || ct != "text/xml;charset=utf-8" {
		b.t.Errorf("%s: %d, %s, %s", action, r.status, ct, r.raw)
	}
	var named struct{ XMLName xml.Name }
	if err := xml.Unmarshal([]byte(r.raw), &named); err != nil || named.XMLName.Local != root {
		b.t.Errorf("%s: root %q, %v", action, named.XMLName.Local, err)
	}
	if err := xml.Unmarshal([]byte(r.raw), v); err != nil {
		b.t.Errorf("%s: %v in %s", action, err, r.raw)
	}
	return r.raw
}

func TestXML(t *testing.T) {
	b := start(t, t.TempDir())
	var made struct {
		RequestId   string
		KeyMetadata struct{ KeyId, Description, DeleteDate string }
	}
	const odd = "<a>&amp;]]>\r\n\t \"'密 "
	b.asXML(&made, 200, "CreateKeyResponse", "CreateKey", "Description", odd)
	id := made.KeyMetadata.KeyId
	if !uuidForm.MatchString(id) || made.KeyMetadata.Description != odd || !uuidForm.MatchString(made.RequestId) {
		t.Errorf("made %+v", made)
	}
	second := b.newKey()
	var sealed struct{ KeyId, KeyVersionId, CiphertextBlob string }
	b.asXML(&sealed, 200, "EncryptResponse", "Encrypt", "KeyId", id, "Plaintext", odd)
	var opened struct{ Plaintext string }
	b.asXML(&opened, 200, "DecryptResponse", "Decrypt", "CiphertextBlob", sealed.CiphertextBlob)
	if opened.Plaintext != odd {
		t.Errorf("got %q", opened.Plaintext)
	}
	var list struct {
		Keys struct {
			Key []struct{ KeyId, KeyArn string }
		}
		TotalCount, PageNumber, PageSize int
	}
	b.asXML(&list, 200, "ListKeysResponse", "ListKeys", "PageSize", "2")
	if len(list.Keys.Key) != 2 || list.Keys.Key[0].KeyId != id || list.Keys.Key[1].KeyId != second || list.TotalCount != 2 || list.PageNumber != 1 || list.PageSize != 2 {
		t.Errorf("list %+v", list)
	}
	if raw := b.asXML(new(struct{}), 200, "ListAliasesResponse", "ListAliases"); !strings.Contains(raw, "<Aliases></Aliases>") {
		t.Errorf("no aliases: %s", raw)
	}
	var refused struct{ Code, Message, RequestId, HostId, HttpStatus string }
	b.asXML(&refused, 404, "Error", "Encrypt", "KeyId", "none", "Plaintext", "x")
	if refused.Code != "Forbidden.KeyNotFound" || refused.HttpStatus != "404" || !uuidForm.MatchString(refused.RequestId) {
		t.Errorf("refused %+v", refused)
	}
	// XML has no NUL: no answer but an honest one.
	nul := b.ok("Encrypt", "KeyId", id, "Plaintext", "a\x00b").str("CiphertextBlob")
	b.asXML(&refused, 400, "Error", "Decrypt", "CiphertextBlob", nul)
	if refused.Code != "InvalidParameter" {
		t.Errorf("refused %+v", refused)
	}
	b.fault(`{"count":1,"code":"Rejected.Throttling"}`)
	b.asXML(&refused, 429, "Error", "ListKeys")
	if refused.Code != "Rejected.Throttling" || refused.Message != "QPS Limit Exceeded" {
		t.Errorf("fault %+v", refused)
	}
}

// Who asks for which format.
func TestFormats(t *testing.T) {
	b := start(t, t.TempDir())
	for format, want := range map[string]string{"JSON": "{", "json": "{", "None": "{", "none": "{", "": "{", "XML": "<", "xml": "<", "Xml": "<"} {
		if r := b.ok2(request("POST", "ListKeys", "Format", format)); !strings.HasPrefix(r.raw, want) {
			t.Errorf("Format=%s: %.40s", format, r.raw)
		}
	}
	b.refused(400, "InvalidParameter", "ListKeys", "Format", "YAML")
	for accept, want := range map[string]string{"application/json": "{", "application/xml": "<", "text/html, application/xml;q=0.9": "{", "*/*": "{"} {
		r := b.sendOK(accept, b.acs3("ListKeys", nil, nil, func(h http.Header) { h.Set("Accept", accept) }))
		if !strings.HasPrefix(r.raw, want) {
			t.Errorf("Accept: %s: %.40s", accept, r.raw)
		}
	}
}

func (b *bench) ok2(v url.Values) result {
	b.t.Helper()
	r, err := b.send(v)
	if err != nil || r.status != 200 {
		b.t.Fatalf("%v %d %s", err, r.status, r.raw)
	}
	return r
}
