package cloudtest

import (
	"crypto/hmac"
	"crypto/sha1"
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"strings"
)

// What a request or an answer holds. What is secret has a canary in it.
const (
	KeyID     = "1234abcd-12ab-34cd-56ef-1234567890ab"
	VersionID = "2ab1a983-7072-4bbc-a582-584b5bd8a1e0"
	RequestID = "475f1620-b9d3-4d35-b5c6-3fbdd941423d"
	AccessKey = "LTAIcanaryaccesskey"
	SecretKey = "canarysecretcanarysecret"
	Token     = "canarytokencanarytoken"
	Plaintext = "canary-plaintext: \"quoted\", \u00e9\u4e2d\U0001F511\r\n\tend\n"
)

// CanaryBlob is in the form of a blob, and may show nowhere.
const CanaryBlob = "Y2FuYXJ5Y2FuYXJ5Y2FuYXJ5Y2FuYXJ5Y2FuYXJ5"

// DecryptAnswer is what the service answers to Decrypt.
func DecryptAnswer(plaintext string) string {
	return JSON(map[string]any{"KeyId": KeyID, "KeyVersionId": VersionID, "RequestId": RequestID, "Plaintext": plaintext})
}

// JSON is v as JSON, which it must be able to be.
func JSON(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return string(b)
}

// Answering gives every request the same answer.
func Answering(status int, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json;charset=utf-8")
		w.WriteHeader(status)
		io.WriteString(w, body)
	}
}

// Echo answers with an error whose message holds all that was sent, as the
// real gateway does when signatures differ.
func Echo(status int, code string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		r.ParseForm()
		Answering(status, JSON(map[string]any{
			"Code": code, "RequestId": RequestID, "HostId": "https://canaryhost/",
			"Message": "Specified signature is not matched with our calculation. server string to sign is:POST&%2F&" +
				r.Form.Encode() + Plaintext,
			"Recommend":          "https://api.aliyun.com/troubleshoot?" + r.Form.Encode(),
			"AccessDeniedDetail": map[string]any{"AuthAction": "canary" + r.Form.Encode()},
		}))(w, r)
	}
}

// SignedWith verifies the RPC signature over query and form, by the rules of the
// documentation and not by the SDK's code.
func SignedWith(r *http.Request, secret string) bool {
	if r.ParseForm() != nil {
		return false
	}
	all := url.Values{}
	for k, v := range r.Form {
		if k != "Signature" {
			all[k] = v
		}
	}
	escape := func(s string) string {
		return strings.NewReplacer("+", "%20", "*", "%2A", "%7E", "~").Replace(s)
	}
	sts := r.Method + "&%2F&" + escape(url.QueryEscape(escape(all.Encode())))
	mac := hmac.New(sha1.New, []byte(secret+"&"))
	io.WriteString(mac, sts)
	return r.Form.Get("Signature") == base64.StdEncoding.EncodeToString(mac.Sum(nil))
}
