package credentials

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/aliyun/credentials-go/credentials/providers"
)

var (
	// ErrBadProfile: a profile, or the file it is in, is malformed or lacks
	// something.
	ErrBadProfile = errors.New("malformed profile")
	// ErrUnsupportedMode: a profile's mode cannot be had without a person or
	// without writing to the file.
	ErrUnsupportedMode = errors.New("unsupported mode of a profile")
	// ErrProcessRefused: a profile wants a command to be run, and
	// credential_process=allow is not given.
	ErrProcessRefused = errors.New("running a command for credentials is not allowed")

	errEmptyProfile = fmt.Errorf("%w: it has neither a mode nor a key", ErrBadProfile)
)

// configuration is the config.json of the aliyun command. kmsfs only reads it:
// the library would write fresh tokens back into it.
type configuration struct {
	Current  string    `json:"current"`
	Profiles []profile `json:"profiles"`
}

type profile struct {
	Name   string `json:"name"`
	Mode   string `json:"mode"`
	Region string `json:"region_id"`

	AccessKeyID     string `json:"access_key_id"`
	AccessKeySecret string `json:"access_key_secret"`
	SecurityToken   string `json:"sts_token"`

	RoleARN       string `json:"ram_role_arn"`
	SessionName   string `json:"ram_session_name"`
	Seconds       int    `json:"expired_seconds"`
	Policy        string `json:"policy"`
	ExternalID    string `json:"external_id"`
	STSRegion     string `json:"sts_region"`
	VPC           bool   `json:"enable_vpc"`
	SourceProfile string `json:"source_profile"`
	RoleName      string `json:"ram_role_name"`

	OIDCProviderARN string `json:"oidc_provider_arn"`
	OIDCTokenFile   string `json:"oidc_token_file"`
	OIDCToken       string `json:"oidc_token"`

	SignInURL         string `json:"cloud_sso_sign_in_url"`
	AccountID         string `json:"cloud_sso_account_id"`
	AccessConfig      string `json:"cloud_sso_access_config"`
	AccessToken       string `json:"access_token"`
	AccessTokenExpire int64  `json:"cloud_sso_access_token_expire"`

	OAuthSite        string `json:"oauth_site_type"`
	OAuthToken       string `json:"oauth_access_token"`
	OAuthTokenExpire int64  `json:"oauth_access_token_expire"`

	ProcessCommand string `json:"process_command"`
	CredentialsURI string `json:"credentials_uri"`
}

func (p profile) key() AccessKey {
	return AccessKey{p.AccessKeyID, p.AccessKeySecret, p.SecurityToken}
}

func (p profile) role() role {
	return role{p.RoleARN, p.SessionName, p.Policy, p.ExternalID, p.Seconds, p.STSRegion, p.VPC}
}

// parseConfiguration says nothing of what is in the file.
func parseConfiguration(content []byte) (configuration, error) {
	var c configuration
	err := json.Unmarshal(content, &c)
	var syntax *json.SyntaxError
	switch {
	case errors.As(err, &syntax):
		line := 1 + bytes.Count(content[:min(int(syntax.Offset), len(content))], []byte("\n"))
		return c, fmt.Errorf("%w: the file is not valid JSON (line %d)", ErrBadProfile, line)
	case err != nil:
		return c, fmt.Errorf("%w: a member has the wrong type", ErrBadProfile)
	}
	return c, nil
}

func (c configuration) find(name string) (profile, error) {
	i := slices.IndexFunc(c.Profiles, func(p profile) bool { return p.Name == name })
	if i < 0 {
		return profile{}, fmt.Errorf("%w: %q", ErrNoProfile, name)
	}
	return c.Profiles[i], nil
}

// provide makes the provider of a profile. seen are the profiles that wait for
// this one's credentials. Modes are told apart as the aliyun command does it,
// without regard to case.
func (f finder) provide(c configuration, p profile, seen ...string) (libraryProvider, error) {
	if slices.Contains(seen, p.Name) {
		return nil, fmt.Errorf("%w: source_profile leads back to profile %q", ErrBadProfile, p.Name)
	}
	switch strings.ToLower(p.Mode) {
	case "":
		if p.key() == (AccessKey{}) {
			return nil, errEmptyProfile
		}
	case "ak":
		if p.key() == (AccessKey{}) {
			return nil, errEmptyProfile
		}
		return fixedKey(AccessKey{AccessKeyID: p.AccessKeyID, AccessKeySecret: p.AccessKeySecret})
	case "ststoken":
		if p.SecurityToken == "" {
			return nil, fmt.Errorf("%w: sts_token is not set", ErrHalf)
		}
		return fixedKey(p.key())
	case "ramrolearn":
		previous, err := fixedKey(p.key())
		if err != nil {
			return nil, err
		}
		return f.assume(previous, p.role())
	case "chainableramrolearn":
		source, err := c.find(p.SourceProfile)
		if err != nil {
			return nil, fmt.Errorf("source_profile: %w", err)
		}
		previous, err := f.provide(c, source, append(seen, p.Name)...)
		if err != nil {
			return nil, fmt.Errorf("source_profile %q: %w", p.SourceProfile, err)
		}
		return f.assume(previous, p.role())
	case "ecsramrole":
		return f.instanceProvider(p.RoleName)
	case "oidc":
		return f.assumeWithOIDC(identity{p.OIDCProviderARN, p.OIDCToken, p.OIDCTokenFile}, p.role())
	case "credentialsuri":
		l, err := f.uri("", p.CredentialsURI)
		if err != nil {
			return nil, err
		}
		return l.build()
	case "cloudsso":
		return p.cloudSSO()
	case "oauth":
		return p.oauth()
	case "external":
		return f.process(p.ProcessCommand)
	}
	return nil, fmt.Errorf("%w: mode %.20q", ErrUnsupportedMode, p.Mode)
}

func fixedKey(c AccessKey) (libraryProvider, error) {
	if err := c.flaw("access_key_id", "access_key_secret", "sts_token"); err != nil {
		return nil, err
	}
	return fixed{AccessKey: c}, nil
}

// cloudSSO exchanges the token of a person's sign-in for credentials. When it
// has expired somebody must sign in again: aliyun configure writes a new one
// into the file, which is read again at each renewal.
func (p profile) cloudSSO() (libraryProvider, error) {
	u, err := url.Parse(p.SignInURL)
	if err != nil || u.Scheme != "https" || u.Host == "" || u.User != nil {
		return nil, fmt.Errorf("%w: cloud_sso_sign_in_url is not an https address", ErrBadProfile)
	}
	if p.AccountID == "" || p.AccessConfig == "" {
		return nil, fmt.Errorf("%w: cloud_sso_account_id or cloud_sso_access_config is not set", ErrBadProfile)
	}
	if !signedIn(p.AccessToken, p.AccessTokenExpire) {
		return notNow(signInEnded), nil
	}
	return built(providers.NewCloudSSOCredentialsProviderBuilder().
		WithSignInUrl(p.SignInURL).WithAccountId(p.AccountID).WithAccessConfig(p.AccessConfig).
		WithAccessToken(p.AccessToken).WithAccessTokenExpire(p.AccessTokenExpire).WithHttpOptions(timeouts).Build())
}

// oauth is like cloudSSO. The library is not given the refresh token: using it
// makes it invalid, and the new one would have to be written into the file.
func (p profile) oauth() (libraryProvider, error) {
	site := map[string]string{"CN": "https://oauth.aliyun.com", "INTL": "https://oauth.alibabacloud.com"}[strings.ToUpper(p.OAuthSite)]
	if site == "" {
		return nil, fmt.Errorf("%w: oauth_site_type is neither CN nor INTL", ErrBadProfile)
	}
	if !signedIn(p.OAuthToken, p.OAuthTokenExpire) {
		return notNow(signInEnded), nil
	}
	return built(providers.NewOAuthCredentialsProviderBuilder().
		WithSignInUrl(site).WithClientId("kmsfs"). // the id is only sent with a refresh token
		WithAccessToken(p.OAuthToken).WithAccessTokenExpire(p.OAuthTokenExpire).WithHttpOptions(timeouts).Build())
}

// signInEnded tells what to do, for nothing but a person can.
const signInEnded = "the sign-in that the profile holds has ended; sign in again with the aliyun command " +
	"(kmsfs does not renew it, which would mean writing to the file)"

func signedIn(token string, expires int64) bool {
	return token != "" && expires > time.Now().Unix()
}
