package scrub

import (
	"errors"
	"net/http"
	"strings"

	"github.com/kmsfs/kmsfs/kms"
)

// Verdict is what an error code means: its class, the class for Decrypt where
// that differs, words of our own, and what to do beside what the class says. The
// service's Message is never repeated: for signature errors it quotes every
// parameter, Encrypt's plaintext included.
type Verdict struct {
	Class   error
	decrypt error // nil: as class
	Detail  string
	Hint    string
}

func notSetUp(detail, hint string) Verdict {
	return Verdict{Class: kms.ErrConfiguration, Detail: detail, Hint: hint}
}

// codes is the documented error table of the API, the gateway's codes, and
// those of the clients in the field. A key that ends in a dot stands for all
// codes that start with it.
var codes = map[string]Verdict{
	// The service or the quota. Throttling comes with 400 and with 429.
	"Rejected.Throttling":         {Class: kms.ErrTransient, Detail: "throttled", Hint: hintThrottled},
	"Throttling":                  {Class: kms.ErrTransient, Detail: "throttled", Hint: hintThrottled},
	"Throttling.":                 {Class: kms.ErrTransient, Detail: "throttled", Hint: hintThrottled},
	"ServiceUnavailableTemporary": {Class: kms.ErrTransient},
	"ServiceUnavailable":          {Class: kms.ErrTransient},
	"InternalFailure":             {Class: kms.ErrTransient},
	"InternalError":               {Class: kms.ErrTransient},

	// Who we are: signature, clock, key, token, account. None of these says
	// anything about a ciphertext or a CMK, so nothing may be purged.
	"SignatureDoesNotMatch":       {Class: kms.ErrAuthentication, Detail: "the access key secret is wrong"},
	"IncompleteSignature":         {Class: kms.ErrAuthentication, Detail: "the signature was not accepted"},
	"SignatureNonceUsed":          {Class: kms.ErrAuthentication, Detail: "the request arrived twice"},
	"IllegalTimestamp":            {Class: kms.ErrAuthentication, Detail: "this machine's clock is wrong"},
	"InvalidTimeStamp.":           {Class: kms.ErrAuthentication, Detail: "this machine's clock is wrong"},
	"InvalidAccessKeyId":          {Class: kms.ErrAuthentication, Detail: "the access key is unknown or its token has expired"},
	"InvalidAccessKeyId.":         {Class: kms.ErrAuthentication, Detail: "the access key is unknown or its token has expired"},
	"InvalidSecurityToken":        {Class: kms.ErrAuthentication, Detail: "the security token is invalid or has expired"},
	"InvalidSecurityToken.":       {Class: kms.ErrAuthentication, Detail: "the security token is invalid or has expired"},
	"MissingSecurityToken":        {Class: kms.ErrAuthentication, Detail: "the access key needs its security token"},
	"Forbidden.AccessKey":         {Class: kms.ErrAuthentication, Detail: "the access key is disabled"},
	"Forbidden.AccessKeyDisabled": {Class: kms.ErrAuthentication, Detail: "the access key is disabled"},

	// How the account, its instance and the endpoint are set up. Nothing of it
	// is about a ciphertext, so nothing may be purged or called damaged.
	"Rejected.UnsupportedOperation":     notSetUp("not possible through this endpoint, or with this kind of key", hintSwitch),
	"UnsupportedOperation":              notSetUp("not possible through this endpoint, or with this kind of key", hintSwitch),
	MissingOfOldImage:                   notSetUp("the instance asks for a parameter of its old protocol", hintImage),
	"Forbidden.DKMSInstance":            notSetUp("the KMS instance does not serve this call", hintInstance),
	"Forbidden.DKMSInstanceNotAllowed":  notSetUp("the KMS instance does not serve this call", hintInstance),
	"InDebt":                            notSetUp("the account has an overdue payment", hintDebt),
	"Forbidden.InDebt":                  notSetUp("the account has an overdue payment", hintDebt),
	"Forbidden.InDebtOverdue":           notSetUp("the account has an overdue payment", hintDebt),
	"Forbidden.KmsServiceNotEnabled":    notSetUp("KMS is not activated for this account", hintService),
	"Forbidden.UserNotEnabled":          notSetUp("KMS is not activated for this account", hintService),
	"Forbidden.ProhibitedByRiskControl": notSetUp("the account is under risk control", hintAccount),
	"Forbidden.UbsmsInvalid":            notSetUp("the account's business status forbids KMS", hintAccount),
	"Forbidden.UbsmsInvalid.":           notSetUp("the account's business status forbids KMS", hintAccount),
	"InvalidApi.NotFound":               notSetUp("the endpoint does not know this action", hintEndpoint),
	"InvalidProduct.NotFound":           notSetUp("the endpoint is not a KMS", hintEndpoint),
	"InvalidVersion":                    notSetUp("the endpoint does not know this API version", hintEndpoint),

	// Known, and not allowed.
	"Forbidden.NoPermission": {Class: kms.ErrDenied},
	"NoPermission":           {Class: kms.ErrDenied},
	"Forbidden.RAM":          {Class: kms.ErrDenied},

	// The key. A region that does not own the blob answers KeyNotFound too.
	"Forbidden.KeyNotFound":           {Class: kms.ErrKeyState, Detail: "no such key in this region"},
	"Forbidden.KeyVersionNotFound":    {Class: kms.ErrKeyState, Detail: "no such key version in this region"},
	"Forbidden.AliasNotFound":         {Class: kms.ErrKeyState, Detail: "no such alias in this region"},
	"Forbidden.ResourceNotFound":      {Class: kms.ErrKeyState, Detail: "no such key in this region"},
	"Rejected.Disabled":               {Class: kms.ErrKeyState, Detail: "the key is disabled"},
	"Rejected.PendingDeletion":        {Class: kms.ErrKeyState, Detail: "the key is about to be deleted"},
	"Rejected.PendingImport":          {Class: kms.ErrKeyState, Detail: "the key has no key material yet"},
	"Rejected.StateModifiedFailed":    {Class: kms.ErrKeyState, Detail: "the key's state does not allow it"},
	"Rejected.Enabled":                {Class: kms.ErrKeyState, Detail: "the key's state does not allow it"},
	"Rejected.ResourceInDeleteWindow": {Class: kms.ErrKeyState, Detail: "the key is about to be deleted"},

	// The parameters. Of Decrypt's, only the blob and its context vary; the
	// documentation names no code for a damaged blob or a wrong context.
	"InvalidParameter":               {Class: kms.ErrInvalid, decrypt: kms.ErrBadCiphertext},
	"ParseRequestParameterException": {Class: kms.ErrInvalid, decrypt: kms.ErrBadCiphertext},
	"Unsupported.Origin":             {Class: kms.ErrInvalid, decrypt: kms.ErrBadCiphertext, Detail: "not possible with this kind of key"},
	"Unsupported.Alias":              {Class: kms.ErrInvalid, decrypt: kms.ErrBadCiphertext, Detail: "not possible with an alias"},
	"Unsupported.ProtectionLevel":    {Class: kms.ErrInvalid, decrypt: kms.ErrBadCiphertext, Detail: "not possible with this kind of key"},

	// The request, whatever it carried.
	"MissingParameter":        {Class: kms.ErrInvalid, Detail: "a parameter is missing"},
	"AliasAlreadyExists":      {Class: kms.ErrInvalid, Detail: "the alias exists already"},
	"Rejected.ResourceExist":  {Class: kms.ErrInvalid, Detail: "it exists already"},
	"Rejected.LimitExceeded":  {Class: kms.ErrInvalid, decrypt: kms.ErrTransient, Detail: "a quota of the account is used up"},
	"InvalidKeyMaterial":      {Class: kms.ErrInvalid},
	"InvalidImportToken":      {Class: kms.ErrInvalid},
	"ExpiredImportToken":      {Class: kms.ErrInvalid},
	"UnsupportedHTTPMethod":   {Class: kms.ErrInvalid},
	"InvalidProtocol.NeedSsl": {Class: kms.ErrInvalid, Detail: "something on the way took TLS off"},
}

// Rejected says whether the service did not take the access key or its token,
// so that others may do.
func Rejected(err error) bool {
	var e *kms.Error
	if !errors.As(err, &e) || e.Class != kms.ErrAuthentication {
		return false
	}
	for _, about := range []string{
		"InvalidAccessKeyId", "InvalidSecurityToken", "MissingSecurityToken", "Forbidden.AccessKey", "SignatureDoesNotMatch",
	} {
		if strings.HasPrefix(e.Code, about) {
			return true
		}
	}
	return false
}

// MissingOfOldImage stands for MissingParameter where the parameter is one of
// those that only the instances' old protocol had.
const MissingOfOldImage = "MissingParameter x-kms-"

// families are codes that are not documented for KMS but that other products
// give for the same cause, by a piece in lower case. They count only where no key
// is spoken of, and nothing was rejected: that may be a refusal.
var families = []struct {
	piece string
	like  string
}{
	{"indebt", "InDebt"}, {"overdue", "InDebt"}, {"arrear", "InDebt"},
	{"notenabled", "Forbidden.KmsServiceNotEnabled"}, {"notopen", "Forbidden.KmsServiceNotEnabled"},
	{"notactiv", "Forbidden.KmsServiceNotEnabled"}, {"notsubscri", "Forbidden.KmsServiceNotEnabled"},
	{"notpurchas", "Forbidden.KmsServiceNotEnabled"},
	{"dkmsinstance", "Forbidden.DKMSInstance"}, {"kmsinstance", "Forbidden.DKMSInstance"},
}

func familyOf(status int, code string) (Verdict, bool) {
	lower := strings.ToLower(code)
	if status >= http.StatusInternalServerError || strings.Contains(lower, "key") ||
		strings.HasPrefix(lower, "rejected.") || strings.HasPrefix(lower, "accessdenied") || strings.HasPrefix(lower, "nopermission") {
		return Verdict{}, false
	}
	for _, f := range families {
		if strings.Contains(lower, f.piece) {
			return codes[f.like], true
		}
	}
	return Verdict{}, false
}

// Classify maps an answer that is no success to its class, and our words.
func Classify(action string, status int, code string) Verdict {
	v, known := LookUp(code)
	switch {
	case known && action == "Decrypt" && v.decrypt != nil:
		v.Class = v.decrypt
		return v
	case known:
		return v
	}
	if v, ok := familyOf(status, code); ok {
		return v
	}
	detail, class := byStatus(action, status, code)
	return Verdict{Class: class, Detail: detail}
}

// Known says that a code is in the table itself, so that it can be no secret.
func Known(code string) bool {
	_, known := codes[code]
	return known
}

// LookUp finds the code itself, else its longest family: what a code says, one
// that goes on behind it with a dot says more exactly.
func LookUp(code string) (Verdict, bool) {
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
	return Verdict{}, false
}

// namesNoKey are the actions that no key is a parameter of.
var namesNoKey = map[string]bool{"CreateKey": true, "ListKeys": true, "ListAliases": true}

// byStatus judges what the table does not know.
func byStatus(action string, status int, code string) (detail string, class error) {
	detail = "HTTP status " + StatusText(status)
	if code != "" {
		detail = "" // the code says it better
	}
	ofKMS := strings.HasPrefix(code, "Forbidden.") || strings.HasPrefix(code, "Rejected.")
	switch {
	case status == http.StatusTooManyRequests, status == http.StatusRequestTimeout, status >= 500:
		return detail, kms.ErrTransient
	case code == "":
		// Every refusal of KMS carries a code. A 403 or 404 without one is
		// some web server's or a proxy's, and must not purge a secret.
		return detail, kms.ErrBadAnswer
	case status == http.StatusUnauthorized, status == http.StatusForbidden:
		return detail, kms.ErrDenied
	case (status == http.StatusNotFound || status == http.StatusConflict) && !namesNoKey[action] && ofKMS:
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
