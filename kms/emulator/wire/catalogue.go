package wire

import "net/http"

// catalogue is every error code that the service's pages list for KMS and for
// the gateway in front of it, with its status. The texts of the gateway and of
// throttling were seen with clients. Those of 403, 404 and 409 differ between
// the pages of the operations, so clients must go by code. What no operation
// here ends in can be had as a fault: {"code":"…"}.
var catalogue = []Error{
	// KMS's own, of its table of common errors (documented).
	{http.StatusBadRequest, "ParseRequestParameterException", "The request parameters cannot be parsed.", false},
	{http.StatusBadRequest, "MissingParameter", "A parameter is needed but not provided.", false},
	{http.StatusBadRequest, "InvalidParameter", "The specified parameter is invalid.", false},
	{http.StatusBadRequest, "IncompleteSignature", "The request signature does not conform to Aliyun standards.", false},
	{http.StatusBadRequest, "IllegalTimestamp",
		`The input parameter "Timestamp" that is mandatory for processing this request is not supplied.`, false},
	{http.StatusBadRequest, "Rejected.LimitExceeded", "The request was rejected because a limit is exceeded.", false},
	{http.StatusBadRequest, "Rejected.UnsupportedOperation", "Unsupported operation.", false},
	{http.StatusBadRequest, "UnsupportedOperation", "Unsupported operation.", false},
	{http.StatusBadRequest, "AliasAlreadyExists", "The specified alias already exists.", false},
	{http.StatusBadRequest, "InvalidKeyMaterial", "The specified key material is not valid.", false},
	{http.StatusBadRequest, "InvalidImportToken", "The specified import token is not valid.", false},
	{http.StatusBadRequest, "ExpiredImportToken", "The specified import token has expired.", false},
	{http.StatusBadRequest, "Unsupported.Origin", "The origin of the key is not supported by this operation.", false},
	{http.StatusBadRequest, "Unsupported.Alias", "Alias is not supported by this operation.", false},
	{http.StatusBadRequest, "Unsupported.ProtectionLevel", "The protection level is not supported.", false},
	{http.StatusBadRequest, "Throttling", "Request was denied due to request throttling.", false},
	{http.StatusBadRequest, "Throttling.User", "Request was denied due to user flow control.", false},
	{http.StatusBadRequest, "Throttling.Api", "Request was denied due to api flow control.", false},
	{http.StatusForbidden, "Forbidden.NoPermission", "This operation is forbidden by permission system.", false},
	{http.StatusForbidden, "Forbidden.AccessKey", "The Access Key is forbidden.", false},
	{http.StatusForbidden, "UnsupportedHTTPMethod", "This http method is not supported.", false},
	{http.StatusForbidden, "Forbidden.KmsServiceNotEnabled", "KMS is not enabled for this account.", false},
	{http.StatusForbidden, "Forbidden.ProhibitedByRiskControl", "The request is prohibited by risk control.", false},
	{http.StatusForbidden, "Forbidden.InDebt", "The account is in debt.", false},
	{http.StatusForbidden, "Forbidden.InDebtOverdue", "The account is in debt and overdue.", false},
	{http.StatusForbidden, "Forbidden.UbsmsInvalid", "The service state of the account is not valid.", false},
	{http.StatusNotFound, "Forbidden.KeyNotFound", "The specified Key is not found.", false},
	{http.StatusNotFound, "Forbidden.KeyVersionNotFound", "The specified Key Version is not found.", false},
	{http.StatusNotFound, "Forbidden.AliasNotFound", "The specified Alias is not found.", false},
	{http.StatusNotFound, "Forbidden.ResourceNotFound", "The specified resource is not found.", false},
	{http.StatusConflict, "Rejected.Disabled", "The request was rejected because the key state is Disabled.", false},
	{http.StatusConflict, "Rejected.Enabled", "The request was rejected because the key state is Enabled.", false},
	{http.StatusConflict, "Rejected.PendingDeletion", "The request was rejected because the key state is PendingDeletion.", false},
	{http.StatusConflict, "Rejected.PendingImport", "The request was rejected because the key state is PendingImport.", false},
	{http.StatusConflict, "Rejected.StateModifiedFailed",
		"The request was rejected because the key state does not allow this change.", false},
	{http.StatusConflict, "Rejected.ResourceExist", "The resource already exists.", false},
	{http.StatusConflict, "Rejected.ResourceInDeleteWindow", "The resource is about to be deleted.", false},
	{http.StatusTooManyRequests, "Rejected.Throttling", "QPS Limit Exceeded", false},
	{http.StatusInternalServerError, "InternalFailure", "Internal failure.", false},
	{http.StatusServiceUnavailable, "ServiceUnavailableTemporary", "The service is temporarily unavailable.", false},

	// DryRun's three ends (documented, without their status).
	{http.StatusBadRequest, "DryRunOperationError", "The request would have succeeded, but the DryRun parameter was set.", false},
	{http.StatusBadRequest, "ValidationError", "The request would have failed.", false},
	{http.StatusForbidden, "AccessDeniedError", "The request would have been denied.", false},

	// The gateway's (seen with clients or documented for all products).
	{http.StatusBadRequest, "SignatureDoesNotMatch", "Specified signature is not matched with our calculation.", true},
	{http.StatusBadRequest, "SignatureNonceUsed", "Specified signature nonce was used already.", true},
	{http.StatusBadRequest, "InvalidTimeStamp.Expired", "Specified time stamp or date value is expired.", true},
	{http.StatusBadRequest, "InvalidTimeStamp.Format", "Specified time stamp or date value is not well formatted.", true},
	{http.StatusNotFound, "InvalidAccessKeyId.NotFound", "The Access Key ID provided does not exist in our records.", true},
	{http.StatusNotFound, "InvalidApi.NotFound", "Specified api is not found,please check your url and method.", true},
	{http.StatusNotFound, "InvalidProduct.NotFound", "Specified product is not found.", true},
	{http.StatusNotFound, "InvalidProtocol.NeedSsl", "Your request is denied as lack of ssl protect.", true},
	// The Location service's; its status was not seen.
	{http.StatusNotFound, "InvalidRegionId", "The specified region does not exist.", true},

	// What the gateway says of security tokens: codes known from other
	// products, neither documented nor seen for KMS.
	{http.StatusBadRequest, "InvalidSecurityToken.Expired", "Specified SecurityToken is expired.", true},
	{http.StatusBadRequest, "InvalidSecurityToken.Malformed", "Specified SecurityToken is malformed.", true},
	{http.StatusBadRequest, "InvalidSecurityToken.MismatchWithAccessKey", "Specified SecurityToken mismatch with the AccessKey.", true},

	// The emulator's own: nothing of the service has such a name.
	{http.StatusBadRequest, "Emulator.NotEmulated", "This emulator does not have the action.", false},
}

// Listed returns the error of a code, or nil.
func Listed(code string) *Error {
	for i := range catalogue {
		if catalogue[i].Code == code {
			return &catalogue[i]
		}
	}
	return nil
}

// mustList is for the codes that the emulator answers itself.
func mustList(code string) *Error {
	e := Listed(code)
	if e == nil {
		panic("not in the catalogue: " + code)
	}
	return e
}
