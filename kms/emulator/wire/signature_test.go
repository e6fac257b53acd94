package wire

import (
	"net/url"
	"strings"
	"testing"
)

func TestSignatureVectors(t *testing.T) {
	for _, v := range []struct {
		name, method, secret string
		p                    Params
		want                 string
	}{
		{
			// Captured from a client that was given these values.
			"sdk", "POST", "sk", Params{
				"AccessKeyId": "ak", "Action": "Decrypt", "CiphertextBlob": "AA+/==",
				"EncryptionContext": `{"a":"b c*~"}`, "Format": "JSON", "RegionId": "cn-hangzhou",
				"SecurityToken": "tok", "SignatureMethod": "HMAC-SHA1",
				"SignatureNonce": "8dc5ab2ef92c5dcfde0b87e4ee3a19e6", "SignatureType": "",
				"SignatureVersion": "1.0", "Timestamp": "2026-11-23T12:45:30Z", "Version": "2016-01-20",
			}, "4QyyBd5uXf025WDN2f1WmdyJ5Pc=",
		},
		{
			// The example of the service's page on signatures. (The value
			// printed there belongs to a string whose & are not encoded.)
			"page", "GET", "testsecret", Params{
				"AccessKeyId": "testid", "Action": "CreateKey", "Format": "json",
				"SignatureMethod": "HMAC-SHA1", "SignatureVersion": "1.0",
				"Timestamp": "2016-03-28T03:13:08Z", "Version": "2016-01-20",
			}, "41wk2SSX1GJh7fwnc5eqOfiJPFg=",
		},
	} {
		t.Run(v.name, func(t *testing.T) {
			if got := rpcSignature(v.secret, stringToSign(v.method, v.p)); got != v.want {
				t.Errorf("got %s, want %s", got, v.want)
			}
			v.p["Signature"] = "anything"
			if got := rpcSignature(v.secret, stringToSign(v.method, v.p)); got != v.want {
				t.Errorf("the signature is part of what it signs: got %s", got)
			}
		})
	}
}

func TestPercentEncode(t *testing.T) {
	for in, want := range map[string]string{
		"":         "",
		"azAZ09":   "azAZ09",
		"-_.~":     "-_.~",
		" +*/=&":   "%20%2B%2A%2F%3D%26",
		"é\x00\n":  "%C3%A9%00%0A",
		"%41":      "%2541",
		"alias/密钥": "alias%2F%E5%AF%86%E9%92%A5",
	} {
		if got := percentEncode(in); got != want {
			t.Errorf("%q: got %q, want %q", in, got, want)
		}
	}
}

// However a client orders and encodes its parameters, the string to sign is
// the same, and decoding it gives the parameters back.
func FuzzCanonical(f *testing.F) {
	f.Add("Action", "Encrypt", "Plaintext", "-----BEGIN KEY-----\nAA+/==\n")
	f.Add("EncryptionContext", `{"a":"b c*~"}`, "SignatureType", "")
	f.Add("a", "&=%2F", "b=", "é密\x00")
	f.Add("", "", "Signature", "x")
	f.Add("a", "1", "a", "2")
	f.Fuzz(func(t *testing.T, k1, v1, k2, v2 string) {
		qk1, qv1, qk2, qv2 := url.QueryEscape(k1), url.QueryEscape(v1), url.QueryEscape(k2), url.QueryEscape(v2)
		wires := []string{
			qk1 + "=" + qv1 + "&" + qk2 + "=" + qv2,
			qk2 + "=" + qv2 + "&" + qk1 + "=" + qv1,
			percentEncode(k2) + "=" + percentEncode(v2) + "&" + percentEncode(k1) + "=" + percentEncode(v1),
		}
		wires = append(wires, strings.ReplaceAll(wires[0], "+", "%20"))
		var first string
		for i, wire := range wires {
			p := Params{}
			if err := p.add(wire); err != nil {
				return // not UTF-8, or twice with two values
			}
			s := stringToSign("POST", p)
			if i == 0 {
				first = s
				decodes(t, s, p)
			}
			if s != first {
				t.Fatalf("%q: got %q, want %q", wire, s, first)
			}
		}
	})
}

// decodes checks that a string to sign holds exactly p without its signature.
func decodes(t *testing.T, s string, p Params) {
	parts := strings.Split(s, "&")
	if len(parts) != 3 || parts[0] != "POST" || parts[1] != "%2F" {
		t.Fatalf("%q is not METHOD&%%2F&QUERY", s)
	}
	canonical, err := url.PathUnescape(parts[2])
	if err != nil {
		t.Fatal(err)
	}
	found, last := 0, ""
	for pair := range strings.SplitSeq(canonical, "&") {
		if pair == "" {
			continue
		}
		name, value, ok := strings.Cut(pair, "=")
		n, err1 := url.PathUnescape(name)
		v, err2 := url.PathUnescape(value)
		want, there := p[n]
		if !ok || err1 != nil || err2 != nil || !there || v != want || n == "Signature" {
			t.Fatalf("%q does not come from %q", pair, p)
		}
		if found > 0 && n <= last {
			t.Fatalf("%q is not behind %q", n, last)
		}
		found, last = found+1, n
	}
	want := len(p)
	if _, ok := p["Signature"]; ok {
		want--
	}
	if found != want {
		t.Fatalf("%d pairs of %d", found, want)
	}
}
