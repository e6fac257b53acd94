package aliyun

import (
	"cmp"
	"errors"
	"io/fs"
	"net/url"
	"regexp"
	"strings"
	"time"

	"github.com/kmsfs/kmsfs/kms"
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
func explain(err error) *miss {
	var own *miss
	var ue *url.Error
	var pe *fs.PathError
	var te *time.ParseError
	text := err.Error()
	switch {
	case errors.As(err, &own):
		return own
	case errors.Is(err, errRedirected), strings.Contains(text, errRedirected.Error()):
		return &miss{kms.ErrTransient, errRedirected.Error()}
	case errors.Is(err, errPlainHTTP):
		return &miss{kms.ErrAuthentication, errPlainHTTP.Error()}
	case errors.Is(err, ErrBadProxy):
		return &miss{kms.ErrTransient, ErrBadProxy.Error()}
	case errors.Is(err, errIncomplete):
		return &miss{kms.ErrTransient, errIncomplete.Error()}
	case errors.As(err, &ue):
		return &miss{kms.ErrTransient, describe(ue.Err, hostOf(ue))}
	case errors.As(err, &pe):
		return &miss{kms.ErrAuthentication, "a file could not be read"}
	case errors.As(err, &te):
		return &miss{kms.ErrTransient, "the answer's expiry is malformed"}
	}
	if m := statusForm.FindStringSubmatch(text); m != nil {
		return refusedBy(m[1] + m[2])
	}
	if m := answerForm.FindStringSubmatch(text); m != nil {
		return refusedWith([]byte(m[1]))
	}
	return &miss{kms.ErrTransient, inText(text)}
}

func hostOf(ue *url.Error) string {
	u, err := url.Parse(ue.URL)
	if err != nil {
		return ""
	}
	return u.Hostname()
}

// refusedBy explains a status of the metadata service.
func refusedBy(status string) *miss {
	switch {
	case status == "404":
		return &miss{kms.ErrAuthentication, "this instance does not have the role, or none at all"}
	case status[0] == '4':
		return &miss{kms.ErrAuthentication, "the metadata service refused (HTTP status " + status + ")"}
	}
	return &miss{kms.ErrTransient, "the metadata service failed (HTTP status " + status + ")"}
}

// refusedWith explains an answer of STS, or of another service that issues
// credentials.
func refusedWith(body []byte) *miss {
	p := refusal(body)
	code := p.text("Code", codeForm)
	id := ""
	if s := p.text("RequestId", uuidForm); s != "" {
		id = ", RequestId " + s
	}
	if words, known := stsCodes[code]; known {
		return &miss{kms.ErrAuthentication, words + " (" + code + id + ")"}
	}
	v, known := lookUp(code)
	switch {
	case code == "":
		return &miss{kms.ErrTransient, "refused without a code"}
	case !known:
		return &miss{kms.ErrAuthentication, "refused with an unknown code" + id}
	}
	m := &miss{kms.ErrAuthentication, cmp.Or(v.detail, "refused")}
	if v.class == kms.ErrTransient {
		m.class = kms.ErrTransient
	}
	if _, exactly := codes[code]; exactly { // else its last part is unknown
		m.detail += " (" + code + id + ")"
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
