package emulator

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
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
}

func (e *apiError) Error() string { return e.Code + ": " + e.Message }

// The codes of the KMS pages. Their texts for 403, 404 and 409 differ between
// the pages of the operations; clients must go by code.
var (
	errKeyNotFound      = &apiError{http.StatusNotFound, "Forbidden.KeyNotFound", "The specified Key is not found."}
	errAliasNotFound    = &apiError{http.StatusNotFound, "Forbidden.AliasNotFound", "The specified Alias is not found."}
	errAliasExists      = &apiError{http.StatusBadRequest, "AliasAlreadyExists", "The specified alias already exists."}
	errUnsupportedAlias = &apiError{http.StatusBadRequest, "Unsupported.Alias", "Alias is not supported by this operation."}
	errUnsupported      = &apiError{http.StatusBadRequest, "Rejected.UnsupportedOperation", "Unsupported operation."}
	errDisabled         = &apiError{http.StatusConflict, "Rejected.Disabled", "The request was rejected because the key state is Disabled."}
	errPendingDeletion  = &apiError{http.StatusConflict, "Rejected.PendingDeletion", "The request was rejected because the key state is PendingDeletion."}
	errStateModified    = &apiError{http.StatusConflict, "Rejected.StateModifiedFailed", "The request was rejected because the key state does not allow this change."}
	errTimeMissing      = &apiError{http.StatusBadRequest, "IllegalTimestamp", `The input parameter "Timestamp" that is mandatory for processing this request is not supplied.`}
	errIncomplete       = &apiError{http.StatusBadRequest, "IncompleteSignature", "The request signature does not conform to Aliyun standards."}
	errMethod           = &apiError{http.StatusForbidden, "UnsupportedHTTPMethod", "This http method is not supported."}
	errInternal         = &apiError{http.StatusInternalServerError, "InternalFailure", "Internal failure."}
)

// The codes of the gateway in front of KMS.
var (
	errNoSuchAPI   = &apiError{http.StatusNotFound, "InvalidApi.NotFound", "Specified api is not found,please check your url and method."}
	errAccessKey   = &apiError{http.StatusNotFound, "InvalidAccessKeyId.NotFound", "The Access Key ID provided does not exist in our records."}
	errNonceUsed   = &apiError{http.StatusBadRequest, "SignatureNonceUsed", "Specified signature nonce was used already."}
	errTimeExpired = &apiError{http.StatusBadRequest, "InvalidTimeStamp.Expired", "Specified time stamp or date value is expired."}
	errTimeFormat  = &apiError{http.StatusBadRequest, "InvalidTimeStamp.Format", "Specified time stamp or date value is not well formatted."}
)

// What the service says here is not documented, or not with its status.
var (
	errUndecryptable = &apiError{http.StatusBadRequest, "InvalidParameter", "The specified parameter is invalid."}
	errDryRun        = &apiError{http.StatusBadRequest, "DryRunOperationError", "The request would have succeeded, but the DryRun parameter was set."}
)

func errParse(text string) *apiError {
	return &apiError{http.StatusBadRequest, "ParseRequestParameterException", text}
}

func errMissing(name string) *apiError {
	return &apiError{http.StatusBadRequest, "MissingParameter", fmt.Sprintf("The parameter %q is needed but not provided.", name)}
}

func errInvalid(name string) *apiError {
	return &apiError{http.StatusBadRequest, "InvalidParameter", fmt.Sprintf("The specified parameter %q is not valid.", name)}
}

// errSignature echoes the server's string to sign, as the service does: the
// SDKs compare it with their own to tell a wrong secret from a wrong request.
// It holds every parameter, so it goes to the caller and nowhere else.
func errSignature(stringToSign string) *apiError {
	return &apiError{http.StatusBadRequest, "SignatureDoesNotMatch",
		"Specified signature is not matched with our calculation. server string to sign is:" + stringToSign}
}

// body is the union of the two documented forms of an error: the gateway's
// (HostId, Recommend) and that of KMS (HttpStatus, a number).
func (e *apiError) body(region, requestID string) map[string]any {
	return map[string]any{
		"HttpStatus": e.Status,
		"Code":       e.Code,
		"Message":    e.Message,
		"RequestId":  requestID,
		"HostId":     "kms." + region + ".aliyuncs.com",
		"Recommend": "https://api.aliyun.com/troubleshoot?q=" + url.QueryEscape(e.Code) +
			"&product=Kms&requestId=" + requestID,
	}
}
