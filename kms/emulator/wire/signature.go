package wire

import (
	"crypto/hmac"
	"crypto/sha1"
	"encoding/base64"
	"maps"
	"slices"
	"strings"
)

// stringToSign is the text that an RPC signature (version 1.0, HMAC-SHA1)
// covers: METHOD&%2F&encode(name=value&…), the pairs sorted by name, both
// halves of a pair encoded, without the signature itself. Clients encode a
// request in several ways on the wire (a space as + or %20), so the parameters
// come decoded and are encoded again here.
func stringToSign(method string, p Params) string {
	return method + "&%2F&" + percentEncode(canonicalQuery(p, "Signature"))
}

// canonicalQuery is name=value&… sorted by name, both halves encoded, without
// the parameter named.
func canonicalQuery(p Params, without string) string {
	var canonical strings.Builder
	for _, name := range slices.Sorted(maps.Keys(p)) {
		if without != "" && name == without {
			continue
		}
		if canonical.Len() > 0 {
			canonical.WriteByte('&')
		}
		canonical.WriteString(percentEncode(name))
		canonical.WriteByte('=')
		canonical.WriteString(percentEncode(p[name]))
	}
	return canonical.String()
}

// rpcClaim reads the parameters of an RPC signature.
func (c *Call) rpcClaim() (*claim, *Error) {
	p := c.Params
	for _, name := range []string{"AccessKeyId", "Signature", "SignatureMethod", "SignatureVersion"} {
		if _, err := p.Need(name); err != nil {
			return nil, Missing(name)
		}
	}
	if p["SignatureMethod"] != "HMAC-SHA1" || p["SignatureVersion"] != "1.0" {
		return nil, errIncomplete
	}
	s := stringToSign(c.Method, p)
	return &claim{
		accessKeyID: p["AccessKeyId"],
		token:       p["SecurityToken"],
		timestamp:   p["Timestamp"],
		nonce:       p["SignatureNonce"],
		signature:   p["Signature"],
		sign:        func(secret string) string { return rpcSignature(secret, s) },
		mismatch:    func() *Error { return errRPCSignature(s) },
	}, nil
}

// rpcSignature signs s with an access key secret.
func rpcSignature(secret, s string) string {
	mac := hmac.New(sha1.New, []byte(secret+"&"))
	mac.Write([]byte(s))
	return base64.StdEncoding.EncodeToString(mac.Sum(nil))
}

// percentEncode is that of RFC 3986 with upper-case hex: only letters, digits
// and -_.~ stay. (url.QueryEscape writes a space as +.)
func percentEncode(s string) string {
	const hex = "0123456789ABCDEF"
	b := make([]byte, 0, len(s)+len(s)/4)
	for i := range len(s) {
		c := s[i]
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9',
			c == '-', c == '_', c == '.', c == '~':
			b = append(b, c)
		default:
			b = append(b, '%', hex[c>>4], hex[c&15])
		}
	}
	return string(b)
}
