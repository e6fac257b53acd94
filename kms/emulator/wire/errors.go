package wire

import (
	"fmt"
	"net/url"
	"strings"
)

// Error is an answer that is not a success.
type Error struct {
	Status  int
	Code    string
	Message string
	Gateway bool // said by the gateway, in its own form
}

// Error has the code and the text of the answer.
func (e *Error) Error() string { return e.Code + ": " + e.Message }

// What the emulator answers itself, out of the catalogue. To compare an error with
// one of them is to compare pointers.
var (
	ErrKeyNotFound      = mustList("Forbidden.KeyNotFound")
	ErrVersionNotFound  = mustList("Forbidden.KeyVersionNotFound")
	ErrAliasNotFound    = mustList("Forbidden.AliasNotFound")
	ErrAliasExists      = mustList("AliasAlreadyExists")
	ErrUnsupportedAlias = mustList("Unsupported.Alias")
	ErrUnsupported      = mustList("Rejected.UnsupportedOperation")
	ErrLimit            = mustList("Rejected.LimitExceeded")
	ErrDisabled         = mustList("Rejected.Disabled")
	ErrPendingDeletion  = mustList("Rejected.PendingDeletion")
	ErrStateModified    = mustList("Rejected.StateModifiedFailed")
	errTimeMissing      = mustList("IllegalTimestamp")
	errIncomplete       = mustList("IncompleteSignature")
	ErrMethod           = mustList("UnsupportedHTTPMethod")
	ErrThrottled        = mustList("Rejected.Throttling")
	ErrInternal         = mustList("InternalFailure")
	ErrDryRun           = mustList("DryRunOperationError")
	ErrUnsupportedHere  = mustList("UnsupportedOperation") // but elsewhere
	ErrNotEmulated      = mustList("Emulator.NotEmulated")

	ErrNoSuchAPI     = mustList("InvalidApi.NotFound")
	ErrNoSuchRegion  = mustList("InvalidRegionId")
	errAccessKey     = mustList("InvalidAccessKeyId.NotFound")
	errNonceUsed     = mustList("SignatureNonceUsed")
	errTimeExpired   = mustList("InvalidTimeStamp.Expired")
	errTimeFormat    = mustList("InvalidTimeStamp.Format")
	errTokenExpired  = mustList("InvalidSecurityToken.Expired")
	errTokenUnknown  = mustList("InvalidSecurityToken.Malformed")
	errTokenMismatch = mustList("InvalidSecurityToken.MismatchWithAccessKey")
)

// ErrUndecryptable is for a damaged blob and for a wrong, missing or needless
// EncryptionContext. What the service says to these is not documented; chosen:
// its general text for a parameter, without a name.
var ErrUndecryptable = mustList("InvalidParameter")

// ErrOldImage is what an instance of before version 3.0.0 answers (documented,
// with the three c's).
var ErrOldImage = Missing("x-kms-acccesskeyid")

func errParse(text string) *Error {
	return mustList("ParseRequestParameterException").Saying(text)
}

// Missing refuses a request that lacks a parameter.
func Missing(name string) *Error {
	return mustList("MissingParameter").Saying(fmt.Sprintf("The parameter %q is needed but not provided.", name))
}

// Invalid refuses the value of a parameter.
func Invalid(name string) *Error {
	return mustList("InvalidParameter").Saying(fmt.Sprintf("The specified parameter %q is not valid.", name))
}

// Saying is the same error with another text.
func (e *Error) Saying(text string) *Error {
	return &Error{e.Status, e.Code, text, e.Gateway}
}

// errRPCSignature echoes the server's string to sign, as the service does: the
// SDKs compare it with their own to tell a wrong secret from a wrong request.
// It holds every parameter, so it goes to the caller and nowhere else. The
// text is exact: one SDK takes what is behind its only colon.
func errRPCSignature(stringToSign string) *Error {
	return mustList("SignatureDoesNotMatch").Saying(
		"Specified signature is not matched with our calculation. server string to sign is:" + stringToSign)
}

// errACS3Signature is the same for ACS3 signatures, in the documented words of
// the gateway.
func errACS3Signature(stringToSign, canonicalRequest string) *Error {
	return mustList("SignatureDoesNotMatch").Saying("Specified signature does not match our calculation. server StringToSign is [" +
		stringToSign + "] server CanonicalRequest is [" + canonicalRequest + "]")
}

// body is an error in the form of who says it. The gateway's has HostId and
// Recommend and its request ids are in upper case; that of KMS has HttpStatus,
// a number, and lower case. Both are documented. KMS's errors pass the
// gateway; that it adds its members to them is a choice of this package, for
// clients that read them.
func (e *Error) body(region, requestID string) map[string]any {
	if e.Gateway {
		requestID = strings.ToUpper(requestID)
	}
	out := map[string]any{
		"Code":      e.Code,
		"Message":   e.Message,
		"RequestId": requestID,
		"HostId":    "kms." + region + ".aliyuncs.com",
		"Recommend": "https://api.aliyun.com/troubleshoot?q=" + url.QueryEscape(e.Code) +
			"&product=Kms&requestId=" + requestID,
	}
	if !e.Gateway {
		out["HttpStatus"] = e.Status
	}
	return out
}
