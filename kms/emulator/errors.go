package emulator

import (
	"errors"
	"fmt"
	"net/url"
	"strings"
)

// What can be wrong before the server listens.
var (
	// ErrConfig marks a Config that no machine could serve.
	ErrConfig = errors.New("unusable configuration")
	// ErrState marks a state file that cannot be opened, read or written.
	ErrState = errors.New("unusable state file")
)

// configError is an error of class ErrConfig that prints only its own text.
type configError struct{ text string }

func (e *configError) Error() string   { return e.text }
func (e *configError) Is(t error) bool { return t == ErrConfig }

func badConfig(format string, a ...any) error {
	return &configError{fmt.Sprintf(format, a...)}
}

// stateError is an error of class ErrState that prints only its cause.
type stateError struct{ cause error }

func (e *stateError) Error() string   { return e.cause.Error() }
func (e *stateError) Unwrap() error   { return e.cause }
func (e *stateError) Is(t error) bool { return t == ErrState }

// apiError is an answer that is not a success.
type apiError struct {
	Status  int
	Code    string
	Message string
	gateway bool // said by the gateway, in its own form
}

func (e *apiError) Error() string { return e.Code + ": " + e.Message }

// The answers of this package, out of the catalogue. To compare an error with
// one of them is to compare pointers.
var (
	errKeyNotFound      = mustList("Forbidden.KeyNotFound")
	errVersionNotFound  = mustList("Forbidden.KeyVersionNotFound")
	errAliasNotFound    = mustList("Forbidden.AliasNotFound")
	errAliasExists      = mustList("AliasAlreadyExists")
	errUnsupportedAlias = mustList("Unsupported.Alias")
	errUnsupported      = mustList("Rejected.UnsupportedOperation")
	errLimit            = mustList("Rejected.LimitExceeded")
	errDisabled         = mustList("Rejected.Disabled")
	errPendingDeletion  = mustList("Rejected.PendingDeletion")
	errStateModified    = mustList("Rejected.StateModifiedFailed")
	errTimeMissing      = mustList("IllegalTimestamp")
	errIncomplete       = mustList("IncompleteSignature")
	errMethod           = mustList("UnsupportedHTTPMethod")
	errThrottled        = mustList("Rejected.Throttling")
	errInternal         = mustList("InternalFailure")
	errDryRun           = mustList("DryRunOperationError")
	errUnsupportedHere  = mustList("UnsupportedOperation") // but elsewhere
	errNotEmulated      = mustList("Emulator.NotEmulated")

	errNoSuchAPI     = mustList("InvalidApi.NotFound")
	errNoSuchRegion  = mustList("InvalidRegionId")
	errAccessKey     = mustList("InvalidAccessKeyId.NotFound")
	errNonceUsed     = mustList("SignatureNonceUsed")
	errTimeExpired   = mustList("InvalidTimeStamp.Expired")
	errTimeFormat    = mustList("InvalidTimeStamp.Format")
	errTokenExpired  = mustList("InvalidSecurityToken.Expired")
	errTokenUnknown  = mustList("InvalidSecurityToken.Malformed")
	errTokenMismatch = mustList("InvalidSecurityToken.MismatchWithAccessKey")
)

// errUndecryptable is for a damaged blob and for a wrong, missing or needless
// EncryptionContext. What the service says to these is not documented; chosen:
// its general text for a parameter, without a name.
var errUndecryptable = mustList("InvalidParameter")

// errOldImage is what an instance of before version 3.0.0 answers (documented,
// with the three c's).
var errOldImage = errMissing("x-kms-acccesskeyid")

func errParse(text string) *apiError {
	return mustList("ParseRequestParameterException").saying(text)
}

func errMissing(name string) *apiError {
	return mustList("MissingParameter").saying(fmt.Sprintf("The parameter %q is needed but not provided.", name))
}

func errInvalid(name string) *apiError {
	return mustList("InvalidParameter").saying(fmt.Sprintf("The specified parameter %q is not valid.", name))
}

// saying is the same error with another text.
func (e *apiError) saying(text string) *apiError {
	return &apiError{e.Status, e.Code, text, e.gateway}
}

// errRPCSignature echoes the server's string to sign, as the service does: the
// SDKs compare it with their own to tell a wrong secret from a wrong request.
// It holds every parameter, so it goes to the caller and nowhere else. The
// text is exact: one SDK takes what is behind its only colon.
func errRPCSignature(stringToSign string) *apiError {
	return mustList("SignatureDoesNotMatch").saying(
		"Specified signature is not matched with our calculation. server string to sign is:" + stringToSign)
}

// errACS3Signature is the same for ACS3 signatures, in the documented words of
// the gateway.
func errACS3Signature(stringToSign, canonicalRequest string) *apiError {
	return mustList("SignatureDoesNotMatch").saying("Specified signature does not match our calculation. server StringToSign is [" +
		stringToSign + "] server CanonicalRequest is [" + canonicalRequest + "]")
}

// body is an error in the form of who says it. The gateway's has HostId and
// Recommend and its request ids are in upper case; that of KMS has HttpStatus,
// a number, and lower case. Both are documented. KMS's errors pass the
// gateway; that it adds its members to them is a choice of this package, for
// clients that read them.
func (e *apiError) body(region, requestID string) map[string]any {
	if e.gateway {
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
	if !e.gateway {
		out["HttpStatus"] = e.Status
	}
	return out
}
