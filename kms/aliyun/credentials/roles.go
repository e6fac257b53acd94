package credentials

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"

	"github.com/aliyun/credentials-go/credentials/providers"

	"github.com/kmsfs/kmsfs/fs/trusted"
)

// role is what is needed to assume one.
type role struct {
	arn, session, policy, externalID string
	seconds                          int
	stsRegion                        string
	vpc                              bool
}

// complete fills what a profile left open from the environment, and checks it.
func (f finder) complete(r role) (role, error) {
	r.session = cmp.Or(r.session, f.Getenv("ALIBABA_CLOUD_ROLE_SESSION_NAME"), "kmsfs")
	r.stsRegion = cmp.Or(r.stsRegion, f.Getenv("ALIBABA_CLOUD_STS_REGION"))
	r.vpc = r.vpc || f.isTrue("ALIBABA_CLOUD_VPC_ENDPOINT_ENABLED")
	r.seconds = cmp.Or(r.seconds, 3600)
	switch {
	case r.arn == "":
		return r, fmt.Errorf("%w: the ARN of the role is missing", ErrBadSource)
	case r.seconds < 900:
		return r, fmt.Errorf("%w: a session must last 900 seconds or more", ErrBadSource)
	}
	return r, stsRegion(r.stsRegion)
}

// assume makes a provider that takes on a role with the credentials of another.
func (f finder) assume(previous libraryProvider, r role) (libraryProvider, error) {
	r, err := f.complete(r)
	if err != nil {
		return nil, err
	}
	return built(providers.NewRAMRoleARNCredentialsProviderBuilder().
		WithCredentialsProvider(previous).WithRoleArn(r.arn).WithRoleSessionName(r.session).
		WithPolicy(r.policy).WithExternalId(r.externalID).WithDurationSeconds(r.seconds).
		WithStsRegionId(r.stsRegion).WithEnableVpc(r.vpc).WithHttpOptions(timeouts).Build())
}

// identity is what proves who we are to STS without an access key.
type identity struct{ providerARN, token, file string }

func (f finder) assumeWithOIDC(id identity, r role) (libraryProvider, error) {
	r, err := f.complete(r)
	switch {
	case err != nil:
		return nil, err
	case id.providerARN == "":
		return nil, fmt.Errorf("%w: the ARN of the OIDC provider is missing", ErrBadSource)
	case id.token == "" && id.file == "":
		return nil, fmt.Errorf("%w: the OIDC token is missing", ErrBadSource)
	}
	if id.token == "" {
		// Whoever writes this file decides who we are.
		t, err := trusted.Read(id.file)
		if errors.Is(err, fs.ErrNotExist) {
			return notNow("the OIDC token file does not exist"), nil
		}
		if err != nil {
			return nil, fmt.Errorf("OIDC token file: %w", err)
		}
		id.token = string(t.Content)
	}
	return built(providers.NewOIDCCredentialsProviderBuilder().
		WithOIDCProviderARN(id.providerARN).WithOIDCToken(id.token).
		WithRoleArn(r.arn).WithRoleSessionName(r.session).WithPolicy(r.policy).WithDurationSeconds(r.seconds).
		WithStsRegionId(r.stsRegion).WithEnableVpc(r.vpc).WithHttpOptions(timeouts).Build())
}

// oidcFromEnv is the role that a pod is given by its service account (RRSA). It
// is configured when all three parts are.
func (f finder) oidcFromEnv() (link, error) {
	id := identity{
		providerARN: f.Getenv("ALIBABA_CLOUD_OIDC_PROVIDER_ARN"),
		token:       f.Getenv("ALIBABA_CLOUD_OIDC_TOKEN"),
		file:        f.Getenv("ALIBABA_CLOUD_OIDC_TOKEN_FILE"),
	}
	arn := f.Getenv("ALIBABA_CLOUD_ROLE_ARN")
	if arn == "" || id.providerARN == "" || id.token == "" && id.file == "" {
		return link{}, nil
	}
	build := func() (libraryProvider, error) { return f.assumeWithOIDC(id, role{arn: arn}) }
	if _, err := build(); err != nil {
		return link{}, fmt.Errorf("OIDC role of the environment: %w", err)
	}
	return link{name: "the OIDC role of the environment", build: build}, nil
}
