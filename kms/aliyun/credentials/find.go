package credentials

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"strings"
)

var (
	// ErrBadSource: what chooses or describes the credentials does not go
	// together, lacks something, or names something that cannot be.
	ErrBadSource = errors.New("not a source of credentials")
	// ErrNoProfile: no file has the profile that was asked for.
	ErrNoProfile = errors.New("no such profile")
)

var roleForm = regexp.MustCompile(`^[A-Za-z0-9._-]{1,64}$`)

// Options choose where credentials come from. The zero value lets the
// environment decide.
//
// With none of Profile, File and RAMRole, the first of these that is configured
// is the source: the access key in the environment; the OIDC role in the
// environment (RRSA); the profile of ~/.aliyun/config.json; that of
// ~/.alibabacloud/credentials; a RAM role named by ALIBABA_CLOUD_ECS_METADATA;
// ALIBABA_CLOUD_CREDENTIALS_URI; the RAM role of the instance, whichever it
// has, unless ALIBABA_CLOUD_ECS_METADATA_DISABLED is true. Unlike Alibaba's
// libraries it does not move on when that source fails: a pod must not take on
// the role of its node because STS was out of reach for a moment. After a
// failure that leaves no key it chooses again, so what has been
// configured in the meantime is found.
type Options struct {
	Profile      string // of a profile file; empty: ALIBABA_CLOUD_PROFILE, else the file's own choice
	File         string // absolute path of a config.json or an ini file; empty: those in the home directory
	RAMRole      string // role of this instance, from its metadata service
	AllowProcess bool   // run the command of a profile of mode External

	Getenv func(string) string // nil: os.Getenv
	Log    *slog.Logger        // for sources found, failures and recoveries; nil: none
}

// Find chooses a source and checks what can be checked without the
// network. It returns ErrNone when none is configured at all. The
// metadata service counts as configured unless it is disabled: only asking it
// would tell, and mounting needs no network.
func Find(o Options) (*Source, error) {
	if o.Getenv == nil {
		o.Getenv = os.Getenv
	}
	f := finder{o}
	if err := f.check(); err != nil {
		return nil, fmt.Errorf("read credentials: %w", err)
	}
	guardLibrary()
	l, err := f.choose()
	if err != nil {
		return nil, err
	}
	s := &Source{
		choose: f.choose, log: o.Log, region: l.region, warnings: l.warnings,
		metadata: !f.metadataDisabled(), allowV1: f.allowV1(),
	}
	s.link = l
	return s, nil
}

// finder looks for sources.
type finder struct{ Options }

func (f finder) check() error {
	switch {
	case f.RAMRole != "" && (f.Profile != "" || f.File != ""):
		return fmt.Errorf("%w: ram_role together with profile or credentials_file", ErrBadSource)
	case f.RAMRole != "" && !roleForm.MatchString(f.RAMRole):
		return fmt.Errorf("%w: ram_role is not the name of a role", ErrBadSource)
	case f.RAMRole != "" && f.metadataDisabled():
		return fmt.Errorf("%w: ram_role, but ALIBABA_CLOUD_ECS_METADATA_DISABLED is true", ErrBadSource)
	case f.File != "" && !filepath.IsAbs(f.File):
		return fmt.Errorf("%w: credentials_file must be an absolute path", ErrBadSource)
	}
	return nil
}

func (f finder) isTrue(name string) bool { return strings.EqualFold(f.Getenv(name), "true") }

func (f finder) metadataDisabled() bool { return f.isTrue("ALIBABA_CLOUD_ECS_METADATA_DISABLED") }

// allowV1: requests without a session token are forwarded by careless proxies
// and applications, so they are for those who ask for them.
func (f finder) allowV1() bool {
	return strings.EqualFold(f.Getenv("ALIBABA_CLOUD_IMDSV1_DISABLED"), "false")
}

// choose returns the one source that is configured.
func (f finder) choose() (link, error) {
	l, err := f.configured()
	if err == nil && l.build == nil {
		err = f.nothing()
	}
	if err != nil {
		return link{}, fmt.Errorf("read credentials: %w", err)
	}
	return l, nil
}

func (f finder) configured() (link, error) {
	switch {
	case f.RAMRole != "":
		return f.instanceRole(f.RAMRole), nil
	case f.File != "" || f.Profile != "":
		return f.files(true)
	}
	if key := (AccessKey{f.Getenv(envKeyID), f.Getenv(envSecret), f.Getenv(envToken)}); key != (AccessKey{}) {
		if err := key.flaw(envKeyID, envSecret, envToken); err != nil {
			return link{}, err
		}
		return fixedLink("environment", key), nil
	}
	if l, err := f.oidcFromEnv(); err != nil || l.build != nil {
		return l, err
	}
	if l, err := f.files(false); err != nil || l.build != nil {
		return l, err
	}
	if role := f.Getenv("ALIBABA_CLOUD_ECS_METADATA"); role != "" && !f.metadataDisabled() {
		if !roleForm.MatchString(role) {
			return link{}, fmt.Errorf("%w: ALIBABA_CLOUD_ECS_METADATA is not the name of a role", ErrBadSource)
		}
		return f.instanceRole(role), nil
	}
	if uri := f.Getenv("ALIBABA_CLOUD_CREDENTIALS_URI"); uri != "" {
		return f.uri("credentials URI of the environment", uri)
	}
	if !f.metadataDisabled() {
		return f.instanceRole(""), nil
	}
	return link{}, nil
}

// nothing says that there is no source, and which were looked at.
func (f finder) nothing() error {
	text := envKeyID + " and " + envSecret + " are not set"
	if f.Getenv("HOME") == "" {
		text += ", there is no HOME to look for profiles in"
	} else {
		text += ", there is no profile in the home directory"
	}
	return fmt.Errorf("%w: %s, and the metadata service is disabled", ErrNone, text)
}

// files finds the profile in the file that was named, else in those of the home
// directory. must says that a profile was asked for.
func (f finder) files(must bool) (link, error) {
	name := f.Profile
	if name == "" {
		name = f.Getenv("ALIBABA_CLOUD_PROFILE")
	}
	if f.File != "" {
		return f.profileFile(f.File, name)
	}
	looked := false
	for _, path := range f.profileFiles() {
		l, err := f.profileFile(path, name)
		switch {
		case err == nil:
			return l, nil
		case errors.Is(err, os.ErrNotExist):
			continue
		case !must && errors.Is(err, errEmptyProfile), errors.Is(err, ErrNoProfile):
			looked = true
			continue
		}
		return link{}, err
	}
	if must || name != "" && looked {
		return link{}, fmt.Errorf("%w: %q is in no profile file", ErrNoProfile, name)
	}
	return link{}, nil
}

// profileFiles are those that Alibaba's programs read, in their order.
func (f finder) profileFiles() []string {
	var all []string
	home := f.Getenv("HOME")
	if !f.isTrue("ALIBABA_CLOUD_CLI_PROFILE_DISABLED") {
		all = append(all, pathOr(f.Getenv("ALIBABA_CLOUD_CONFIG_FILE"), home, ".aliyun/config.json"))
	}
	all = append(all, pathOr(f.Getenv("ALIBABA_CLOUD_CREDENTIALS_FILE"), home, ".alibabacloud/credentials"))
	var there []string
	for _, p := range all {
		if filepath.IsAbs(p) {
			there = append(there, p)
		}
	}
	return there
}

func pathOr(named, home, usual string) string {
	if named == "" && filepath.IsAbs(home) {
		return filepath.Join(home, usual)
	}
	return named
}
