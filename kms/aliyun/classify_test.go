package aliyun

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"

	"github.com/kmsfs/kmsfs/kms"
)

// One row per documented code: its HTTP status, and the class for Decrypt,
// Encrypt and CreateAlias.
var documented = []struct {
	code                    string
	status                  int
	decrypt, encrypt, alias error
}{
	{"ParseRequestParameterException", 400, kms.ErrBadCiphertext, kms.ErrInvalid, kms.ErrInvalid},
	{"MissingParameter", 400, kms.ErrInvalid, kms.ErrInvalid, kms.ErrInvalid},
	{"InvalidParameter", 400, kms.ErrBadCiphertext, kms.ErrInvalid, kms.ErrInvalid},
	{"IncompleteSignature", 400, kms.ErrAuthentication, kms.ErrAuthentication, kms.ErrAuthentication},
	{"IllegalTimestamp", 400, kms.ErrAuthentication, kms.ErrAuthentication, kms.ErrAuthentication},
	{"Rejected.LimitExceeded", 400, kms.ErrTransient, kms.ErrInvalid, kms.ErrInvalid},
	{"AliasAlreadyExists", 400, kms.ErrInvalid, kms.ErrInvalid, kms.ErrInvalid},
	{"InvalidKeyMaterial", 400, kms.ErrInvalid, kms.ErrInvalid, kms.ErrInvalid},
	{"InvalidImportToken", 400, kms.ErrInvalid, kms.ErrInvalid, kms.ErrInvalid},
	{"ExpiredImportToken", 400, kms.ErrInvalid, kms.ErrInvalid, kms.ErrInvalid},
	{"Unsupported.Origin", 400, kms.ErrBadCiphertext, kms.ErrInvalid, kms.ErrInvalid},
	{"Unsupported.Alias", 400, kms.ErrBadCiphertext, kms.ErrInvalid, kms.ErrInvalid},
	{"Unsupported.ProtectionLevel", 400, kms.ErrBadCiphertext, kms.ErrInvalid, kms.ErrInvalid},
	{"Throttling", 400, kms.ErrTransient, kms.ErrTransient, kms.ErrTransient},
	{"Throttling.User", 400, kms.ErrTransient, kms.ErrTransient, kms.ErrTransient},
	{"Throttling.Api", 400, kms.ErrTransient, kms.ErrTransient, kms.ErrTransient},
	{"Throttling.Api.Sub", 400, kms.ErrTransient, kms.ErrTransient, kms.ErrTransient},
	{"Rejected.Throttling", 429, kms.ErrTransient, kms.ErrTransient, kms.ErrTransient},
	{"Rejected.UnsupportedOperation", 400, kms.ErrConfiguration, kms.ErrConfiguration, kms.ErrConfiguration},
	{"UnsupportedOperation", 400, kms.ErrConfiguration, kms.ErrConfiguration, kms.ErrConfiguration},
	{"SignatureNonceUsed", 400, kms.ErrAuthentication, kms.ErrAuthentication, kms.ErrAuthentication},
	{"InvalidTimeStamp.Expired", 400, kms.ErrAuthentication, kms.ErrAuthentication, kms.ErrAuthentication},
	{"InvalidTimeStamp.Format", 400, kms.ErrAuthentication, kms.ErrAuthentication, kms.ErrAuthentication},
	{"SignatureDoesNotMatch", 400, kms.ErrAuthentication, kms.ErrAuthentication, kms.ErrAuthentication},
	{"InvalidSecurityToken", 400, kms.ErrAuthentication, kms.ErrAuthentication, kms.ErrAuthentication},
	{"InvalidSecurityToken.Expired", 400, kms.ErrAuthentication, kms.ErrAuthentication, kms.ErrAuthentication},
	{"InvalidSecurityToken.Malformed", 400, kms.ErrAuthentication, kms.ErrAuthentication, kms.ErrAuthentication},
	{"InvalidSecurityToken.MismatchWithAccessKey", 400, kms.ErrAuthentication, kms.ErrAuthentication, kms.ErrAuthentication},
	{"MissingSecurityToken", 400, kms.ErrAuthentication, kms.ErrAuthentication, kms.ErrAuthentication},
	{"Forbidden.NoPermission", 403, kms.ErrDenied, kms.ErrDenied, kms.ErrDenied},
	{"NoPermission", 403, kms.ErrDenied, kms.ErrDenied, kms.ErrDenied},
	{"Forbidden.RAM", 403, kms.ErrDenied, kms.ErrDenied, kms.ErrDenied},
	{"Forbidden.AccessKey", 403, kms.ErrAuthentication, kms.ErrAuthentication, kms.ErrAuthentication},
	{"Forbidden.AccessKeyDisabled", 403, kms.ErrAuthentication, kms.ErrAuthentication, kms.ErrAuthentication},
	{"UnsupportedHTTPMethod", 403, kms.ErrInvalid, kms.ErrInvalid, kms.ErrInvalid},
	{"Forbidden.KmsServiceNotEnabled", 403, kms.ErrConfiguration, kms.ErrConfiguration, kms.ErrConfiguration},
	{"Forbidden.ProhibitedByRiskControl", 403, kms.ErrConfiguration, kms.ErrConfiguration, kms.ErrConfiguration},
	{"Forbidden.InDebt", 403, kms.ErrConfiguration, kms.ErrConfiguration, kms.ErrConfiguration},
	{"Forbidden.InDebtOverdue", 403, kms.ErrConfiguration, kms.ErrConfiguration, kms.ErrConfiguration},
	{"Forbidden.UbsmsInvalid", 403, kms.ErrConfiguration, kms.ErrConfiguration, kms.ErrConfiguration},
	{"Forbidden.UbsmsInvalid.Status", 403, kms.ErrConfiguration, kms.ErrConfiguration, kms.ErrConfiguration},
	{"InvalidAccessKeyId", 400, kms.ErrAuthentication, kms.ErrAuthentication, kms.ErrAuthentication},
	{"InvalidAccessKeyId.NotFound", 404, kms.ErrAuthentication, kms.ErrAuthentication, kms.ErrAuthentication},
	{"InvalidAccessKeyId.Inactive", 400, kms.ErrAuthentication, kms.ErrAuthentication, kms.ErrAuthentication},
	{"Forbidden.KeyNotFound", 404, kms.ErrKeyState, kms.ErrKeyState, kms.ErrKeyState},
	{"Forbidden.KeyVersionNotFound", 404, kms.ErrKeyState, kms.ErrKeyState, kms.ErrKeyState},
	{"Forbidden.AliasNotFound", 404, kms.ErrKeyState, kms.ErrKeyState, kms.ErrKeyState},
	{"Forbidden.ResourceNotFound", 404, kms.ErrKeyState, kms.ErrKeyState, kms.ErrKeyState},
	{"InvalidApi.NotFound", 404, kms.ErrConfiguration, kms.ErrConfiguration, kms.ErrConfiguration},
	{"InvalidProduct.NotFound", 404, kms.ErrConfiguration, kms.ErrConfiguration, kms.ErrConfiguration},
	{"InvalidProtocol.NeedSsl", 404, kms.ErrInvalid, kms.ErrInvalid, kms.ErrInvalid},
	{"InvalidVersion", 400, kms.ErrConfiguration, kms.ErrConfiguration, kms.ErrConfiguration},
	{"Rejected.Disabled", 409, kms.ErrKeyState, kms.ErrKeyState, kms.ErrKeyState},
	{"Rejected.PendingDeletion", 409, kms.ErrKeyState, kms.ErrKeyState, kms.ErrKeyState},
	{"Rejected.PendingImport", 409, kms.ErrKeyState, kms.ErrKeyState, kms.ErrKeyState},
	{"Rejected.StateModifiedFailed", 409, kms.ErrKeyState, kms.ErrKeyState, kms.ErrKeyState},
	{"Rejected.Enabled", 409, kms.ErrKeyState, kms.ErrKeyState, kms.ErrKeyState},
	{"Rejected.ResourceExist", 409, kms.ErrInvalid, kms.ErrInvalid, kms.ErrInvalid},
	{"Rejected.ResourceInDeleteWindow", 409, kms.ErrKeyState, kms.ErrKeyState, kms.ErrKeyState},
	{"InternalFailure", 500, kms.ErrTransient, kms.ErrTransient, kms.ErrTransient},
	{"InternalError", 500, kms.ErrTransient, kms.ErrTransient, kms.ErrTransient},
	{"ServiceUnavailableTemporary", 503, kms.ErrTransient, kms.ErrTransient, kms.ErrTransient},
	{"ServiceUnavailable", 503, kms.ErrTransient, kms.ErrTransient, kms.ErrTransient},

	// As other products say it.
	{"InDebt", 403, kms.ErrConfiguration, kms.ErrConfiguration, kms.ErrConfiguration},
	{"Forbidden.InDebtOverDue.Credit", 400, kms.ErrConfiguration, kms.ErrConfiguration, kms.ErrConfiguration},
	{"Account.Arrearage", 403, kms.ErrConfiguration, kms.ErrConfiguration, kms.ErrConfiguration},
	{"Forbidden.UserNotEnabled", 403, kms.ErrConfiguration, kms.ErrConfiguration, kms.ErrConfiguration},
	{"ServiceNotOpened", 400, kms.ErrConfiguration, kms.ErrConfiguration, kms.ErrConfiguration},
	{"Forbidden.DKMSInstance", 403, kms.ErrConfiguration, kms.ErrConfiguration, kms.ErrConfiguration},
	{"Forbidden.DKMSInstanceNotAllowed", 403, kms.ErrConfiguration, kms.ErrConfiguration, kms.ErrConfiguration},
	{"Forbidden.DKMSInstanceStateInvalid", 409, kms.ErrConfiguration, kms.ErrConfiguration, kms.ErrConfiguration},
	{"Instance.NotFound", 404, kms.ErrConfiguration, kms.ErrConfiguration, kms.ErrConfiguration},
	{"InvalidAction.NotFound", 404, kms.ErrConfiguration, kms.ErrConfiguration, kms.ErrConfiguration},
	{"InvalidEndpoint.NotFound", 404, kms.ErrConfiguration, kms.ErrConfiguration, kms.ErrConfiguration},
	{"UnsupportedOperation.KeyOfInstance", 400, kms.ErrConfiguration, kms.ErrConfiguration, kms.ErrConfiguration},
	{"Forbidden.ProhibitedByRiskControl.Account", 403, kms.ErrConfiguration, kms.ErrConfiguration, kms.ErrConfiguration},
	{"Forbidden.KeyNotEnabled", 403, kms.ErrDenied, kms.ErrDenied, kms.ErrDenied},
	{"Forbidden.KeyNotEnabled", 409, kms.ErrKeyState, kms.ErrKeyState, kms.ErrKeyState},
	{"Rejected.KeyNotActive", 409, kms.ErrKeyState, kms.ErrKeyState, kms.ErrKeyState},
	{"Rejected.KmsInstanceKeyDisabled", 409, kms.ErrKeyState, kms.ErrKeyState, kms.ErrKeyState},
	{"AccessDenied.KmsInstanceKeyPolicy", 403, kms.ErrDenied, kms.ErrDenied, kms.ErrDenied},
	{"NoPermission.NotOpened", 403, kms.ErrDenied, kms.ErrDenied, kms.ErrDenied},
	{"InDebt", 500, kms.ErrConfiguration, kms.ErrConfiguration, kms.ErrConfiguration},
	{"NeverSeen.InDebt", 500, kms.ErrTransient, kms.ErrTransient, kms.ErrTransient},

	// Unknown ones, by status.
	{"Never.Seen", 400, kms.ErrBadCiphertext, kms.ErrInvalid, kms.ErrInvalid},
	{"Never.Seen", 401, kms.ErrDenied, kms.ErrDenied, kms.ErrDenied},
	{"Forbidden.NeverSeen", 403, kms.ErrDenied, kms.ErrDenied, kms.ErrDenied},
	{"Forbidden.NeverSeenNotFound", 404, kms.ErrKeyState, kms.ErrKeyState, kms.ErrKeyState},
	{"Never.Seen", 405, kms.ErrInvalid, kms.ErrInvalid, kms.ErrInvalid},
	{"Never.Seen", 408, kms.ErrTransient, kms.ErrTransient, kms.ErrTransient},
	{"Rejected.NeverSeen", 409, kms.ErrKeyState, kms.ErrKeyState, kms.ErrKeyState},
	{"Never.Seen", 429, kms.ErrTransient, kms.ErrTransient, kms.ErrTransient},
	{"Never.Seen", 500, kms.ErrTransient, kms.ErrTransient, kms.ErrTransient},
	{"Never.Seen", 504, kms.ErrTransient, kms.ErrTransient, kms.ErrTransient},

	// Without a code it is not KMS that answers.
	{"", 400, kms.ErrBadAnswer, kms.ErrBadAnswer, kms.ErrBadAnswer},
	{"", 403, kms.ErrBadAnswer, kms.ErrBadAnswer, kms.ErrBadAnswer},
	{"", 404, kms.ErrBadAnswer, kms.ErrBadAnswer, kms.ErrBadAnswer},
	{"", 407, kms.ErrBadAnswer, kms.ErrBadAnswer, kms.ErrBadAnswer},
	{"", 429, kms.ErrTransient, kms.ErrTransient, kms.ErrTransient},
	{"", 502, kms.ErrTransient, kms.ErrTransient, kms.ErrTransient},
}

func TestClassify(t *testing.T) {
	rows := map[string]bool{}
	for _, d := range documented {
		rows[d.code] = true
		for action, want := range map[string]error{"Decrypt": d.decrypt, "Encrypt": d.encrypt, "CreateAlias": d.alias} {
			if got := classify(action, d.status, d.code); got.class != want {
				t.Errorf("%s, %d %s: %v, want %v", action, d.status, d.code, got.class, want)
			}
		}
	}
	for code := range codes {
		if !rows[code] && !strings.HasSuffix(code, ".") && code != missingOfOldImage {
			t.Errorf("%s has no row in the test", code)
		}
	}
	for code, want := range map[string]error{"Never.Seen": kms.ErrConfiguration, "NotFound.Never": kms.ErrConfiguration} {
		if got := classify("CreateKey", http.StatusNotFound, code); got.class != want {
			t.Errorf("CreateKey, 404 %s: %v, want %v", code, got.class, want)
		}
	}
}

// Over the wire: class, code, status and request id arrive in the error, and
// its text is one line of ours.
func TestRefusals(t *testing.T) {
	for _, d := range documented {
		if d.code == "" {
			continue
		}
		c, _ := service(t, echo(d.status, d.code))
		_, err := c.Decrypt(context.Background(), blobOf(t, 1), nil)
		wantClass(t, d.code, err, d.decrypt)
		clean(t, d.code, err)
		var e *kms.Error
		if !errors.As(err, &e) || e.Code != d.code || e.Status != d.status || e.RequestID != requestID1 || e.Action != "Decrypt" || e.Cause != nil {
			t.Errorf("%s: %+v", d.code, e)
		}
		if err != nil && strings.ContainsAny(err.Error(), "\r\n") {
			t.Errorf("%s: more than one line: %q", d.code, err)
		}
	}
}
