package credentials

import (
	"cmp"
	"errors"
	"io/fs"
	"net/url"
	"regexp"
	"strings"
	"time"

	"github.com/kmsfs/kmsfs/kms"
	"github.com/kmsfs/kmsfs/kms/aliyun/scrub"
)

// stsCodes are the refusals that STS is known to give, with what they mean. As
// with KMS, no other word of an answer is repeated.
var stsCodes = map[string]string{
	"NoPermission":                         "this identity may not assume the role",
	"EntityNotExist.Role":                  "there is no such role",
	"InvalidParameter.RoleArn":             "the ARN of the role is malformed",
	"InvalidParameter.RoleSessionName":     "the session's name is malformed",
	"InvalidParameter.DurationSeconds":     "the session's duration is not allowed",
	"InvalidParameter.PolicyGrammar":       "the policy is malformed",
	"AuthenticationFail.NoPermission":      "the role does not trust this identity",
	"AuthenticationFail.OIDCToken.Expired": "the OIDC token has expired",
	"AuthenticationFail.OIDCToken.Invalid": "the OIDC token is not accepted",
	"AuthenticationFail.IDPMalformed":      "the OIDC provider is set up wrongly",
	"ImplicitDeny":                         "this identity may not assume the role",
	"ExplicitDeny":                         "this identity may not assume the role",
}

var (
	uuidForm   = regexp.MustCompile(`^[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}$`)
	statusForm = regexp.MustCompile(`httpStatus: (\d{3}),|^get role name failed: GET \S+ (\d{3})$`)
	answerForm = regexp.MustCompile(`(?s)^(?:refresh session token|get session token(?: from sso| from OAuth)?) failed: (.*)$`)
)

// explain says in our own words why a provider gave nothing. The library's
// errors hold request URLs with the access key and its signature, and whole
// answers; some hold them as text only.
func explain(err error) *Error {
	var own *Error
	var ue *url.Error
	var pe *fs.PathError
	var te *time.ParseError
	text := err.Error()
	switch {
	case errors.As(err, &own):
		return own
	case errors.Is(err, errRedirected), strings.Contains(text, errRedirected.Error()):
		return fault(kms.ErrTransient, errRedirected.Error())
	case errors.Is(err, errPlainHTTP):
		return fault(kms.ErrAuthentication, errPlainHTTP.Error())
	case errors.Is(err, scrub.ErrBadProxy):
		return fault(kms.ErrTransient, scrub.ErrBadProxy.Error())
	case errors.Is(err, errIncomplete):
		return fault(kms.ErrTransient, errIncomplete.Error())
	case errors.As(err, &ue):
		return fault(kms.ErrTransient, scrub.Describe(ue.Err, hostOf(ue)))
	case errors.As(err, &pe):
		return fault(kms.ErrAuthentication, "a file could not be read")
	case errors.As(err, &te):
		return fault(kms.ErrTransient, "the answer's expiry is malformed")
	}
	if m := statusForm.FindStringSubmatch(text); m != nil {
		return refusedBy(m[1] + m[2])
	}
	if m := answerForm.FindStringSubmatch(text); m != nil {
		return refusedWith([]byte(m[1]))
	}
	return fault(kms.ErrTransient, inText(text))
}

func hostOf(ue *url.Error) string {
	u, err := url.Parse(ue.URL)
	if err != nil {
		return ""
	}
	return u.Hostname()
}

// refusedBy explains a status of the metadata service.
func refusedBy(status string) *Error {
	switch {
	case status == "404":
		return fault(kms.ErrAuthentication, "this instance does not have the role, or none at all")
	case status[0] == '4':
		return fault(kms.ErrAuthentication, "the metadata service refused (HTTP status "+status+")")
	}
	return fault(kms.ErrTransient, "the metadata service failed (HTTP status "+status+")")
}

// refusedWith explains an answer of STS, or of another service that issues
// credentials.
func refusedWith(body []byte) *Error {
	p := scrub.Refusal(body)
	code := p.Text("Code", scrub.CodeForm)
	id := ""
	if s := p.Text("RequestId", uuidForm); s != "" {
		id = ", RequestId " + s
	}
	if words, known := stsCodes[code]; known {
		return fault(kms.ErrAuthentication, words+" ("+code+id+")")
	}
	v, known := scrub.LookUp(code)
	switch {
	case code == "":
		return fault(kms.ErrTransient, "refused without a code")
	case !known:
		return fault(kms.ErrAuthentication, "refused with an unknown code"+id)
	}
	m := fault(kms.ErrAuthentication, cmp.Or(v.Detail, "refused"))
	if v.Class == kms.ErrTransient {
		m.Class = kms.ErrTransient
	}
	if scrub.Known(code) { // else its last part is unknown
		m.Detail += " (" + code + id + ")"
	}
	return m
}

// inText recognises what the library has flattened into text.
func inText(text string) string {
	for _, known := range []struct{ piece, words string }{
		{"connection refused", "connection refused"},
		{"network is unreachable", "network unreachable"},
		{"no route to host", "network unreachable"},
		{"connection reset", "connection closed"},
		{"EOF", "connection closed"},
		{"Timeout exceeded", "timed out"},
		{"i/o timeout", "timed out"},
		{"deadline exceeded", "timed out"},
		{"json.Unmarshal fail", "the answer is not JSON"},
		{"json unmarshal fail", "the answer is not JSON"},
		{"fail to get credentials", "the answer holds no credentials"},
		{"Code is not Success", "the metadata service has none ready"},
		{"get credentials from ", "the address refused"},
		{"refresh credentials from ", "the answer holds no credentials"},
	} {
		if strings.Contains(text, known.piece) {
			return known.words
		}
	}
	return "the request failed"
}
