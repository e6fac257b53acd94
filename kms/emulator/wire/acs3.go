package wire

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"maps"
	"net/http"
	"slices"
	"strings"
)

// acs3Algorithm is the one signature of its family that is checked here. The
// gateway's others (ACS3-HMAC-SM3, ACS3-RSA-SHA256, ACS4-HMAC-SHA256) are
// refused as IncompleteSignature.
const acs3Algorithm = "ACS3-HMAC-SHA256"

// emptyHash is the SHA-256 of no body.
var emptyHash = hexHash("")

// acs3Claim reads the Authorization header (documented):
//
//	ACS3-HMAC-SHA256 Credential=<id>,SignedHeaders=<a;b>,Signature=<hex>
//
// Host and every x-acs- header must be among the signed ones: the page on this
// signature tells clients so. That the service insists is a choice of this
// package.
func (c *Call) acs3Claim() (*claim, *Error) {
	algorithm, fields, _ := strings.Cut(c.header.Get("Authorization"), " ")
	if algorithm != acs3Algorithm {
		return nil, errIncomplete
	}
	parts := map[string]string{}
	for field := range strings.SplitSeq(fields, ",") {
		name, value, _ := strings.Cut(strings.TrimSpace(field), "=")
		parts[name] = value
	}
	id, signature, list := parts["Credential"], parts["Signature"], parts["SignedHeaders"]
	if id == "" || signature == "" || list == "" {
		return nil, errIncomplete
	}
	names := strings.Split(strings.ToLower(list), ";")
	slices.Sort(names)
	signed := map[string]string{}
	for _, name := range names {
		value, there := c.headerValue(name)
		if !there {
			return nil, errIncomplete
		}
		signed[name] = value
	}
	if _, ok := signed["host"]; !ok {
		return nil, errIncomplete
	}
	for name := range c.header {
		name = strings.ToLower(name)
		if _, ok := signed[name]; !ok && strings.HasPrefix(name, "x-acs-") {
			return nil, errIncomplete
		}
	}
	request := canonicalRequest(c.Method, c.query, signed, c.bodyHash)
	return &claim{
		accessKeyID: id,
		token:       c.header.Get("X-Acs-Security-Token"),
		timestamp:   c.header.Get("X-Acs-Date"),
		nonce:       c.header.Get("X-Acs-Signature-Nonce"),
		signature:   signature,
		sign:        func(secret string) string { return acs3Signature(secret, request) },
		mismatch:    func() *Error { return errACS3Signature(acs3StringToSign(request), request) },
	}, nil
}

// headerValue returns a header by its lower-case name, as it is signed.
func (c *Call) headerValue(name string) (string, bool) {
	if name == "host" {
		return c.Host, true
	}
	values, ok := c.header[http.CanonicalHeaderKey(name)]
	trimmed := make([]string, len(values))
	for i, v := range values {
		trimmed[i] = strings.TrimSpace(v)
	}
	return strings.Join(trimmed, ","), ok
}

// canonicalRequest is the text that an ACS3 signature covers (documented; the
// two golden vectors of the test agree):
//
//	METHOD \n / \n QUERY \n name:value\n … \n names joined by ; \n body's hash
//
// The query alone, not a form, is in QUERY; the hash is the server's own, so a
// body other than the one that x-acs-content-sha256 announces does not match.
func canonicalRequest(method string, query Params, signed map[string]string, bodyHash string) string {
	names := slices.Sorted(maps.Keys(signed))
	var b strings.Builder
	b.WriteString(method + "\n/\n" + canonicalQuery(query, "") + "\n")
	for _, name := range names {
		b.WriteString(name + ":" + signed[name] + "\n")
	}
	b.WriteString("\n" + strings.Join(names, ";") + "\n" + bodyHash)
	return b.String()
}

func acs3StringToSign(canonicalRequest string) string {
	return acs3Algorithm + "\n" + hexHash(canonicalRequest)
}

// acs3Signature signs a canonical request. Unlike in the RPC signature the
// secret is the key as it is.
func acs3Signature(secret, canonicalRequest string) string {
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write([]byte(acs3StringToSign(canonicalRequest)))
	return hex.EncodeToString(mac.Sum(nil))
}

func hexHash(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:])
}
