package credentials

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"reflect"
	"strings"
	"time"

	"github.com/aliyun/credentials-go/credentials/providers"

	"github.com/kmsfs/kmsfs/kms"
	"github.com/kmsfs/kmsfs/kms/aliyun/scrub"
)

// What credentials-go lacks is done around it. Its providers are not safe for
// concurrent use, keep what they got without telling its expiry, panic on
// answers that lack a member, and put request URLs and answers into errors. So
// each fetch builds a provider of its own, under Source's lock of
// one, and throws it away.

// link is one place to get credentials from.
type link struct {
	name     string // for logs and errors
	region   string // that the profile names
	warnings []string
	// build makes a provider, reading files anew. It uses no network.
	build func() (libraryProvider, error)
}

// provider is the library's interface.
type libraryProvider = providers.CredentialsProvider

// fetch asks once.
func (l link) fetch() (got timedKey, err error) {
	p, err := l.build()
	if err != nil {
		return timedKey{}, fault(kms.ErrAuthentication, "no credentials from "+l.name+": "+withoutVerb(err))
	}
	c, err := ask(p)
	if err != nil {
		m := explain(err)
		return timedKey{}, fault(m.Class, "no credentials from "+l.name+": "+m.Detail)
	}
	now := wallClock()
	got = newTimedKey(c, expiryOf(p), now)
	if !got.alive(now) {
		return timedKey{}, fault(kms.ErrAuthentication, "no credentials from "+l.name+": they have expired already by this machine's clock")
	}
	return got, nil
}

func ask(p libraryProvider) (c AccessKey, err error) {
	defer func() {
		if recover() != nil {
			err = errIncomplete // the value is of no use, and may be a secret
		}
	}()
	cc, err := p.GetCredentials()
	if err != nil {
		return AccessKey{}, err
	}
	c = AccessKey{cc.AccessKeyId, cc.AccessKeySecret, cc.SecurityToken}
	if err := c.flaw("access key id", "access key secret", "security token"); err != nil {
		return AccessKey{}, fault(kms.ErrAuthentication, err.Error())
	}
	return c, nil
}

var errIncomplete = errors.New("the answer lacks a member")

// expiryOf returns when a provider's credentials expire; zero: never, as far as
// is known. The library keeps it in a field that it does not export. A test
// fails if the field goes away; without it kmsfs would still live, on renewals
// after a rejection.
func expiryOf(p libraryProvider) time.Time {
	if own, ok := p.(interface{ expiry() time.Time }); ok {
		return own.expiry()
	}
	f := reflect.Indirect(reflect.ValueOf(p)).FieldByName("expirationTimestamp")
	if !f.IsValid() || f.Kind() != reflect.Int64 || f.Int() <= 0 {
		return time.Time{}
	}
	return time.Unix(f.Int(), 0)
}

// fixed is a provider of what is known already.
type fixed struct {
	AccessKey
	expires time.Time
}

func fixedLink(name string, c AccessKey) link {
	return link{name: name, build: func() (libraryProvider, error) { return fixed{AccessKey: c}, nil }}
}

func (f fixed) GetCredentials() (*providers.Credentials, error) {
	return &providers.Credentials{AccessKeyId: f.AccessKeyID, AccessKeySecret: f.AccessKeySecret, SecurityToken: f.SecurityToken}, nil
}

func (fixed) GetProviderName() string { return "fixed" }

func (f fixed) expiry() time.Time { return f.expires }

// notNow is the provider of a source that is configured but cannot give anything
// at the moment, which is no reason not to mount. It says why.
type notNow string

func (n notNow) GetCredentials() (*providers.Credentials, error) {
	return nil, fault(kms.ErrAuthentication, string(n))
}

func (notNow) GetProviderName() string { return "none" }

// timeouts bound each request of the providers that speak to something remote;
// those of the metadata provider are fixed at one second and one.
var timeouts = &providers.HttpOptions{ConnectTimeout: 2000, ReadTimeout: 2500} // milliseconds

// instanceRole asks the metadata service for a role's credentials; empty: for
// the role that the instance has.
func (f finder) instanceRole(role string) link {
	name := "the RAM role of this instance"
	if role != "" {
		name = fmt.Sprintf("RAM role %q of this instance", role)
	}
	return link{name: name, build: func() (libraryProvider, error) { return f.instanceProvider(role) }}
}

func (f finder) instanceProvider(role string) (libraryProvider, error) {
	if f.metadataDisabled() {
		return nil, fmt.Errorf("%w: ALIBABA_CLOUD_ECS_METADATA_DISABLED is true", ErrBadSource)
	}
	if role != "" && !roleForm.MatchString(role) {
		return nil, fmt.Errorf("%w: ram_role_name is not the name of a role", ErrBadSource)
	}
	return built(providers.NewECSRAMRoleCredentialsProviderBuilder().WithRoleName(role).WithDisableIMDSv1(!f.allowV1()).Build())
}

// uri gets credentials from an address that somebody else provides.
func (f finder) uri(name, uri string) (link, error) {
	build := func() (libraryProvider, error) {
		u, err := url.Parse(uri)
		switch {
		case err != nil || u.Host == "" || u.User != nil || u.Scheme != "https" && u.Scheme != "http":
			return nil, fmt.Errorf("%w: the credentials URI is no URL, or holds a password", ErrBadSource)
		case u.Scheme == "http" && !onThisMachine(u.Hostname()):
			return nil, fmt.Errorf("%w: the credentials URI must be https, or on this machine", ErrBadSource)
		}
		return built(providers.NewURLCredentialsProviderBuilder().WithUrl(uri).WithHttpOptions(timeouts).Build())
	}
	_, err := build()
	return link{name: name, build: build}, err
}

// built drops the library's words for what we should have checked before.
func built[P libraryProvider](p P, err error) (libraryProvider, error) {
	if err != nil {
		return nil, fmt.Errorf("%w: the library does not take these settings", ErrBadSource)
	}
	return p, nil
}

// stsRegion checks the region that becomes part of the name of the STS endpoint.
func stsRegion(region string) error {
	if region != "" && (!scrub.RegionForm.MatchString(region) || net.ParseIP(region) != nil) {
		return fmt.Errorf("%w: the STS region is not a region id", ErrBadSource)
	}
	return nil
}

func withoutVerb(err error) string { return strings.TrimPrefix(err.Error(), "read credentials: ") }
