package wire

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
)

// The vectors: one of the service's page on this signature, one captured from
// a client that was given these values.
func TestACS3Vectors(t *testing.T) {
	for _, v := range []struct {
		name, secret string
		query        Params
		signed       map[string]string
		hash, want   string
	}{
		{
			"page", "YourAccessKeySecret",
			Params{"ImageId": "win2019_1809_x64_dtc_zh-cn_40G_alibase_20230811.vhd", "RegionId": "cn-shanghai"},
			map[string]string{
				"host": "ecs.cn-shanghai.aliyuncs.com", "x-acs-action": "RunInstances", "x-acs-version": "2014-05-26",
				"x-acs-content-sha256": emptyHash, "x-acs-date": "2023-10-26T10:22:32Z",
				"x-acs-signature-nonce": "3156853299f313e23d1673dc12e1703d",
			},
			"7ea06492da5221eba5297e897ce16e55f964061054b7695beedaac1145b1e259",
			"06563a9e1b43f5dfe96b81484da74bceab24a1d853912eee15083a6f0f3283c0",
		},
		{
			"sdk", "sk",
			Params{"CiphertextBlob": "AA+/==", "EncryptionContext": `{"a":"b c*~"}`},
			map[string]string{
				"host": "127.0.0.1:34593", "x-acs-action": "Decrypt", "x-acs-version": "2016-01-20",
				"x-acs-content-sha256": emptyHash, "x-acs-date": "2026-11-23T12:45:30Z",
				"x-acs-signature-nonce": "2cb02c0341a0581ca5b97459c26fcd63",
				"x-acs-accesskey-id":    "ak", "x-acs-security-token": "tok",
			},
			"", "09697c5d41221ac361dae34993f6dee52a497aa697a349d799d429cf6854b721",
		},
	} {
		t.Run(v.name, func(t *testing.T) {
			request := canonicalRequest("POST", v.query, v.signed, emptyHash)
			if got := hexHash(request); v.hash != "" && got != v.hash {
				t.Errorf("canonical request hashes to %s, want %s:\n%s", got, v.hash, request)
			}
			if got := acs3Signature(v.secret, request); got != v.want {
				t.Errorf("got %s, want %s for\n%s", got, v.want, request)
			}
		})
	}
	if emptyHash != "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855" {
		t.Errorf("no body hashes to %s", emptyHash)
	}
}

// However a client orders and encodes its query and writes its header, the
// canonical request is the same, one line for each part; and no other
// parameter or header value gives the same.
func FuzzACS3(f *testing.F) {
	f.Add("Plaintext", "-----BEGIN KEY-----\nAA+/==\n", "x-acs-date", "2026-11-23T12:45:30Z")
	f.Add("EncryptionContext", `{"a":"b c*~"}`, "X-Acs-Security-Token", " CAIS+/== ")
	f.Add("", "&=\n%2F", "host", "127.0.0.1:1")
	f.Fuzz(func(t *testing.T, name, value, header, headerValue string) {
		read := func(query, names string) (*claim, string) {
			c := &Call{Method: "POST", Host: "h:1", query: Params{}, bodyHash: emptyHash, header: http.Header{}}
			if c.query.add(query) != nil {
				return nil, ""
			}
			c.header.Set(header, headerValue)
			c.header.Set("Authorization", "ACS3-HMAC-SHA256 Credential=ak,SignedHeaders="+names+",Signature=00")
			claimed, err := c.acs3Claim()
			if err != nil {
				if err != errIncomplete {
					t.Fatal(err)
				}
				return nil, ""
			}
			_, rest, _ := strings.Cut(claimed.mismatch().Message, "CanonicalRequest is [")
			return claimed, strings.TrimSuffix(rest, "]")
		}
		if strings.ContainsFunc(header, func(r rune) bool { return r <= ' ' || r >= 0x7f || strings.ContainsRune(";,=", r) }) || strings.ContainsAny(headerValue, "\r\n") || http.CanonicalHeaderKey(header) == "Authorization" {
			return // no header at all
		}
		n, v := percentEncode(name), percentEncode(value)
		first, request := read(n+"="+v+"&z=%20", "host;"+header)
		if first == nil {
			return // not UTF-8, twice with two values, or no name for a header
		}
		if strings.ToLower(header) != "host" {
			lines := strings.Split(request, "\n")
			if len(lines) != 8 || lines[0] != "POST" || lines[1] != "/" || lines[5] != "" || lines[7] != emptyHash {
				t.Fatalf("not the eight lines: %q", request)
			}
			if back, err := url.ParseQuery(lines[2]); err != nil || back.Get(name) != value && name != "z" {
				t.Fatalf("%q holds %q, %v", lines[2], back, err)
			}
		}
		for _, same := range [][2]string{
			{"z=+&" + n + "=" + v, header + ";host"},
			{"z=%20&" + url.QueryEscape(name) + "=" + url.QueryEscape(value), strings.ToUpper(header) + ";HOST"},
		} {
			if _, got := read(same[0], same[1]); got != request {
				t.Fatalf("%q gives %q, want %q", same, got, request)
			}
		}
		if _, got := read(n+"="+v+"x&z=%20", "host;"+header); got == request {
			t.Fatal("another value, the same canonical request")
		}
	})
}
