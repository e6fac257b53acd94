package aliyun

import (
	"errors"
	"net/http"
	"strings"

	"github.com/kmsfs/kmsfs/kms"
)

// verdict is what an error code means: its class, the class for Decrypt where
// that differs, and words of our own. The service's Message is never repeated:
// for signature errors it quotes every parameter, Encrypt's plaintext included.
type verdict struct {
	class   error
	decrypt error // nil: as class
	detail  string
}

// codes is the documented error table of the API, the gateway's codes, and
// those of the clients in the field. A key that ends in a dot stands for all
// codes that start with it.
var codes = map[string]verdict{
	// The service or the quota. Throttling comes with 400 and with 429.
	"Rejected.Throttling":         {class: kms.ErrTransient, detail: "throttled"},
	"Throttling":                  {class: kms.ErrTransient, detail: "throttled"},
	"Throttling.":                 {class: kms.ErrTransient, detail: "throttled"},
	"ServiceUnavailableTemporary": {class: kms.ErrTransient},
	"ServiceUnavailable":          {class: kms.ErrTransient},
	"InternalFailure":             {class: kms.ErrTransient},
	"InternalError":               {class: kms.ErrTransient},

	// Who we are: signature, clock, key, token, account. None of these says
	// anything about a ciphertext or a CMK, so nothing may be purged.
	"SignatureDoesNotMatch":             {class: kms.ErrAuthentication, detail: "the access key secret is wrong"},
	"IncompleteSignature":               {class: kms.ErrAuthentication, detail: "the signature was not accepted"},
	"SignatureNonceUsed":                {class: kms.ErrAuthentication, detail: "the request arrived twice"},
	"IllegalTimestamp":                  {class: kms.ErrAuthentication, detail: "this machine's clock is wrong"},
	"InvalidTimeStamp.":                 {class: kms.ErrAuthentication, detail: "this machine's clock is wrong"},
	"InvalidAccessKeyId":                {class: kms.ErrAuthentication, detail: "the access key is unknown or its token has expired"},
	"InvalidAccessKeyId.":               {class: kms.ErrAuthentication, detail: "the access key is unknown or its token has expired"},
	"InvalidSecurityToken":              {class: kms.ErrAuthentication, detail: "the security token is invalid or has expired"},
	"InvalidSecurityToken.":             {class: kms.ErrAuthentication, detail: "the security token is invalid or has expired"},
	"MissingSecurityToken":              {class: kms.ErrAuthentication, detail: "the access key needs its security token"},
	"Forbidden.AccessKey":               {class: kms.ErrAuthentication, detail: "the access key is disabled"},
	"Forbidden.AccessKeyDisabled":       {class: kms.ErrAuthentication, detail: "the access key is disabled"},
	"Forbidden.KmsServiceNotEnabled":    {class: kms.ErrAuthentication, detail: "KMS is not enabled for this account"},
	"Forbidden.ProhibitedByRiskControl": {class: kms.ErrAuthentication, detail: "the account is under risk control"},
	"Forbidden.InDebt":                  {class: kms.ErrAuthentication, detail: "the account has an overdue payment"},
	"Forbidden.InDebtOverdue":           {class: kms.ErrAuthentication, detail: "the account has an overdue payment"},
	"Forbidden.UbsmsInvalid":            {class: kms.ErrAuthentication, detail: "the account's business status forbids KMS"},
	"Forbidden.UbsmsInvalid.":           {class: kms.ErrAuthentication, detail: "the account's business status forbids KMS"},

	// Known, and not allowed.
	"Forbidden.NoPermission": {class: kms.ErrDenied},
	"NoPermission":           {class: kms.ErrDenied},
	"Forbidden.RAM":          {class: kms.ErrDenied},

	// The key. A region that does not own the blob answers KeyNotFound too.
	"Forbidden.KeyNotFound":           {class: kms.ErrKeyState, detail: "no such key in this region"},
	"Forbidden.KeyVersionNotFound":    {class: kms.ErrKeyState, detail: "no such key version in this region"},
	"Forbidden.AliasNotFound":         {class: kms.ErrKeyState, detail: "no such alias in this region"},
	"Forbidden.ResourceNotFound":      {class: kms.ErrKeyState, detail: "no such key in this region"},
	"Rejected.Disabled":               {class: kms.ErrKeyState, detail: "the key is disabled"},
	"Rejected.PendingDeletion":        {class: kms.ErrKeyState, detail: "the key is about to be deleted"},
	"Rejected.PendingImport":          {class: kms.ErrKeyState, detail: "the key has no key material yet"},
	"Rejected.StateModifiedFailed":    {class: kms.ErrKeyState, detail: "the key's state does not allow it"},
	"Rejected.Enabled":                {class: kms.ErrKeyState, detail: "the key's state does not allow it"},
	"Rejected.ResourceInDeleteWindow": {class: kms.ErrKeyState, detail: "the key is about to be deleted"},

	// The parameters. Of Decrypt's, only the blob and its context vary; the
	// documentation names no code for a damaged blob or a wrong context.
	"InvalidParameter":               {class: kms.ErrInvalid, decrypt: kms.ErrBadCiphertext},
	"ParseRequestParameterException": {class: kms.ErrInvalid, decrypt: kms.ErrBadCiphertext},
	"Rejected.UnsupportedOperation":  {class: kms.ErrInvalid, decrypt: kms.ErrBadCiphertext, detail: "not possible with this kind of key"},
	"UnsupportedOperation":           {class: kms.ErrInvalid, decrypt: kms.ErrBadCiphertext, detail: "not possible with this kind of key"},
	"Unsupported.Origin":             {class: kms.ErrInvalid, decrypt: kms.ErrBadCiphertext, detail: "not possible with this kind of key"},
	"Unsupported.Alias":              {class: kms.ErrInvalid, decrypt: kms.ErrBadCiphertext, detail: "not possible with an alias"},
	"Unsupported.ProtectionLevel":    {class: kms.ErrInvalid, decrypt: kms.ErrBadCiphertext, detail: "not possible with this kind of key"},

	// The request, whatever it carried.
	"MissingParameter":        {class: kms.ErrInvalid, detail: "a parameter is missing"},
	"AliasAlreadyExists":      {class: kms.ErrInvalid, detail: "the alias exists already"},
	"Rejected.ResourceExist":  {class: kms.ErrInvalid, detail: "it exists already"},
	"Rejected.LimitExceeded":  {class: kms.ErrInvalid, decrypt: kms.ErrTransient, detail: "a quota of the account is used up"},
	"InvalidKeyMaterial":      {class: kms.ErrInvalid},
	"InvalidImportToken":      {class: kms.ErrInvalid},
	"ExpiredImportToken":      {class: kms.ErrInvalid},
	"UnsupportedHTTPMethod":   {class: kms.ErrInvalid},
	"InvalidApi.NotFound":     {class: kms.ErrInvalid, detail: "the endpoint does not know this action"},
	"InvalidProduct.NotFound": {class: kms.ErrInvalid, detail: "the endpoint is not a KMS"},
	"InvalidProtocol.NeedSsl": {class: kms.ErrInvalid, detail: "something on the way took TLS off"},
	"InvalidVersion":          {class: kms.ErrInvalid, detail: "the endpoint does not know this API version"},
}

// rejected says whether the service did not take the access key or its token,
// so that others may do.
func rejected(err error) bool {
	var e *kms.Error
	if !errors.As(err, &e) || e.Class != kms.ErrAuthentication {
		return false
	}
	for _, about := range []string{"InvalidAccessKeyId", "InvalidSecurityToken", "MissingSecurityToken", "Forbidden.AccessKey", "SignatureDoesNotMatch"} {
		if strings.HasPrefix(e.Code, about) {
			return true
		}
	}
	return false
}

// classify maps an answer that is no success to its class and our words.
func classify(action string, status int, code string) (detail string, class error) {
	v, known := lookUp(code)
	switch {
	case known && action == "Decrypt" && v.decrypt != nil:
		return v.detail, v.decrypt
	case known:
		return v.detail, v.class
	}
	return byStatus(action, status, code)
}

// lookUp finds the code itself, else its longest family.
func lookUp(code string) (verdict, bool) {
	if v, ok := codes[code]; ok {
		return v, true
	}
	for end := strings.LastIndexByte(code, '.'); end > 0; end = strings.LastIndexByte(code[:end], '.') {
		if v, ok := codes[code[:end+1]]; ok {
			return v, true
		}
	}
	return verdict{}, false
}

// namesNoKey are the actions that no key is a parameter of.
var namesNoKey = map[string]bool{"CreateKey": true, "ListKeys": true, "ListAliases": true}

// byStatus judges what the table does not know.
func byStatus(action string, status int, code string) (detail string, class error) {
	detail = "HTTP status " + statusText(status)
	if code != "" {
		detail = "" // the code says it better
	}
	switch {
	case status == http.StatusTooManyRequests, status == http.StatusRequestTimeout, status >= 500:
		return detail, kms.ErrTransient
	case code == "":
		// Every refusal of KMS carries a code. A 403 or 404 without one is
		// some web server's or a proxy's, and must not purge a secret.
		return detail, kms.ErrBadAnswer
	case status == http.StatusUnauthorized, status == http.StatusForbidden:
		return detail, kms.ErrDenied
	case (status == http.StatusNotFound || status == http.StatusConflict) && !namesNoKey[action]:
		// All documented 404 and 409 of these actions are about a key.
		return detail, kms.ErrKeyState
	case status == http.StatusBadRequest && action == "Decrypt":
		// Signature, clock and throttling codes are known above; what is
		// left of a Decrypt's 400 can only be about the blob or its
		// context, for whose faults no code is documented.
		return detail, kms.ErrBadCiphertext
	case status >= 400:
		return detail, kms.ErrInvalid
	}
	return detail, kms.ErrBadAnswer
}
