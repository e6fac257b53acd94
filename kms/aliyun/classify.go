package aliyun

import (
	"errors"
	"net/http"
	"strings"

	"github.com/kmsfs/kmsfs/kms"
)

// verdict is what an error code means: its class, the class for Decrypt where
// that differs, words of our own, and what to do beside what the class says. The
// service's Message is never repeated: for signature errors it quotes every
// parameter, Encrypt's plaintext included.
type verdict struct {
	class   error
	decrypt error // nil: as class
	detail  string
	hint    string
}

// codes is the documented error table of the API, the gateway's codes, and
// those of the clients in the field. A key that ends in a dot stands for all
// codes that start with it.
var codes = map[string]verdict{
	// The service or the quota. Throttling comes with 400 and with 429.
	"Rejected.Throttling":         {class: kms.ErrTransient, detail: "throttled", hint: hintThrottled},
	"Throttling":                  {class: kms.ErrTransient, detail: "throttled", hint: hintThrottled},
	"Throttling.":                 {class: kms.ErrTransient, detail: "throttled", hint: hintThrottled},
	"ServiceUnavailableTemporary": {class: kms.ErrTransient},
	"ServiceUnavailable":          {class: kms.ErrTransient},
	"InternalFailure":             {class: kms.ErrTransient},
	"InternalError":               {class: kms.ErrTransient},

	// Who we are: signature, clock, key, token, account. None of these says
	// anything about a ciphertext or a CMK, so nothing may be purged.
	"SignatureDoesNotMatch":       {class: kms.ErrAuthentication, detail: "the access key secret is wrong"},
	"IncompleteSignature":         {class: kms.ErrAuthentication, detail: "the signature was not accepted"},
	"SignatureNonceUsed":          {class: kms.ErrAuthentication, detail: "the request arrived twice"},
	"IllegalTimestamp":            {class: kms.ErrAuthentication, detail: "this machine's clock is wrong"},
	"InvalidTimeStamp.":           {class: kms.ErrAuthentication, detail: "this machine's clock is wrong"},
	"InvalidAccessKeyId":          {class: kms.ErrAuthentication, detail: "the access key is unknown or its token has expired"},
	"InvalidAccessKeyId.":         {class: kms.ErrAuthentication, detail: "the access key is unknown or its token has expired"},
	"InvalidSecurityToken":        {class: kms.ErrAuthentication, detail: "the security token is invalid or has expired"},
	"InvalidSecurityToken.":       {class: kms.ErrAuthentication, detail: "the security token is invalid or has expired"},
	"MissingSecurityToken":        {class: kms.ErrAuthentication, detail: "the access key needs its security token"},
	"Forbidden.AccessKey":         {class: kms.ErrAuthentication, detail: "the access key is disabled"},
	"Forbidden.AccessKeyDisabled": {class: kms.ErrAuthentication, detail: "the access key is disabled"},

	// How the account, its instance and the endpoint are set up. Nothing of it
	// is about a ciphertext, so nothing may be purged or called damaged.
	"Rejected.UnsupportedOperation":     {class: kms.ErrConfiguration, detail: "not possible through this endpoint, or with this kind of key", hint: hintSwitch},
	"UnsupportedOperation":              {class: kms.ErrConfiguration, detail: "not possible through this endpoint, or with this kind of key", hint: hintSwitch},
	missingOfOldImage:                   {class: kms.ErrConfiguration, detail: "the instance asks for a parameter of its old protocol", hint: hintImage},
	"Forbidden.DKMSInstance":            {class: kms.ErrConfiguration, detail: "the KMS instance does not serve this call", hint: hintInstance},
	"Forbidden.DKMSInstanceNotAllowed":  {class: kms.ErrConfiguration, detail: "the KMS instance does not serve this call", hint: hintInstance},
	"InDebt":                            {class: kms.ErrConfiguration, detail: "the account has an overdue payment", hint: hintDebt},
	"Forbidden.InDebt":                  {class: kms.ErrConfiguration, detail: "the account has an overdue payment", hint: hintDebt},
	"Forbidden.InDebtOverdue":           {class: kms.ErrConfiguration, detail: "the account has an overdue payment", hint: hintDebt},
	"Forbidden.KmsServiceNotEnabled":    {class: kms.ErrConfiguration, detail: "KMS is not activated for this account", hint: hintService},
	"Forbidden.UserNotEnabled":          {class: kms.ErrConfiguration, detail: "KMS is not activated for this account", hint: hintService},
	"Forbidden.ProhibitedByRiskControl": {class: kms.ErrConfiguration, detail: "the account is under risk control", hint: hintAccount},
	"Forbidden.UbsmsInvalid":            {class: kms.ErrConfiguration, detail: "the account's business status forbids KMS", hint: hintAccount},
	"Forbidden.UbsmsInvalid.":           {class: kms.ErrConfiguration, detail: "the account's business status forbids KMS", hint: hintAccount},
	"InvalidApi.NotFound":               {class: kms.ErrConfiguration, detail: "the endpoint does not know this action", hint: hintEndpoint},
	"InvalidProduct.NotFound":           {class: kms.ErrConfiguration, detail: "the endpoint is not a KMS", hint: hintEndpoint},
	"InvalidVersion":                    {class: kms.ErrConfiguration, detail: "the endpoint does not know this API version", hint: hintEndpoint},

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
	"InvalidProtocol.NeedSsl": {class: kms.ErrInvalid, detail: "something on the way took TLS off"},
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

// missingOfOldImage stands for MissingParameter where the parameter is one of
// those that only the instances' old protocol had.
const missingOfOldImage = "MissingParameter x-kms-"

// families are codes that are not documented for KMS but that other products
// give for the same cause, by a piece in lower case. They count only where no key
// is spoken of, and nothing was rejected: that may be a refusal.
var families = []struct {
	piece string
	like  string
}{
	{"indebt", "InDebt"}, {"overdue", "InDebt"}, {"arrear", "InDebt"},
	{"notenabled", "Forbidden.KmsServiceNotEnabled"}, {"notopen", "Forbidden.KmsServiceNotEnabled"},
	{"notactiv", "Forbidden.KmsServiceNotEnabled"}, {"notsubscri", "Forbidden.KmsServiceNotEnabled"}, {"notpurchas", "Forbidden.KmsServiceNotEnabled"},
	{"dkmsinstance", "Forbidden.DKMSInstance"}, {"kmsinstance", "Forbidden.DKMSInstance"},
}

func familyOf(status int, code string) (verdict, bool) {
	lower := strings.ToLower(code)
	if status >= http.StatusInternalServerError || strings.Contains(lower, "key") ||
		strings.HasPrefix(lower, "rejected.") || strings.HasPrefix(lower, "accessdenied") || strings.HasPrefix(lower, "nopermission") {
		return verdict{}, false
	}
	for _, f := range families {
		if strings.Contains(lower, f.piece) {
			return codes[f.like], true
		}
	}
	return verdict{}, false
}

// classify maps an answer that is no success to its class, and our words.
func classify(action string, status int, code string) verdict {
	v, known := lookUp(code)
	switch {
	case known && action == "Decrypt" && v.decrypt != nil:
		v.class = v.decrypt
		return v
	case known:
		return v
	}
	if v, ok := familyOf(status, code); ok {
		return v
	}
	detail, class := byStatus(action, status, code)
	return verdict{class: class, detail: detail}
}

// lookUp finds the code itself, else its longest family: what a code says, one
// that goes on behind it with a dot says more exactly.
func lookUp(code string) (verdict, bool) {
	if v, ok := codes[code]; ok {
		return v, true
	}
	for end := strings.LastIndexByte(code, '.'); end > 0; end = strings.LastIndexByte(code[:end], '.') {
		for _, family := range []string{code[:end+1], code[:end]} {
			if v, ok := codes[family]; ok {
				return v, true
			}
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
	case (status == http.StatusNotFound || status == http.StatusConflict) && !namesNoKey[action] && (strings.HasPrefix(code, "Forbidden.") || strings.HasPrefix(code, "Rejected.")):
		// All documented 404 and 409 of these actions are about a key, and
		// begin like that.
		return detail, kms.ErrKeyState
	case status == http.StatusNotFound || status == http.StatusConflict:
		// Of the gateway: no such action, version, endpoint, instance. It is
		// no word about a key.
		return detail, kms.ErrConfiguration
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
