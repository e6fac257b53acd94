package credentials

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/kmsfs/kmsfs/kms"
	"github.com/kmsfs/kmsfs/kms/aliyun/scrub"
)

// metadataHost is where an instance learns about itself.
const metadataHost = "100.100.100.200"

// noRegion says why the region is missing, which nobody has named.
func noRegion(class error, why string) *Error {
	return &Error{Class: class, Detail: "no region is set; " + why, Hint: scrub.HintRegion}
}

// lookup is the search for the region in the instance's metadata.
type lookup struct {
	work    *work[string]
	failure error
	ended   time.Time // of the last failure
}

// InstanceRegion asks the metadata service for the region of this instance, once in
// the life of a source.
func (s *Source) InstanceRegion(ctx context.Context) (string, error) {
	s.mu.Lock()
	if s.where.work == nil {
		if s.where.failure != nil && time.Since(s.where.ended) < failurePause {
			defer s.mu.Unlock()
			return "", s.where.failure
		}
		s.where.work = start(func() (string, error) { return askRegion(s.allowV1) }, func(_ string, err error) {
			if err != nil {
				s.mu.Lock()
				defer s.mu.Unlock()
				s.where = lookup{failure: err, ended: time.Now()}
			}
		})
	}
	w := s.where.work
	s.mu.Unlock()
	return w.wait(ctx)
}

// askRegion asks the metadata service. The library asks it for credentials
// only.
func askRegion(allowV1 bool) (string, error) {
	client := &http.Client{
		Timeout:       2 * time.Second,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport: &http.Transport{ // no proxy: it would see the session token
			DialContext:            (&net.Dialer{Timeout: time.Second}).DialContext,
			DisableKeepAlives:      true,
			MaxResponseHeaderBytes: 32 << 10,
		},
	}
	session, err := askMetadata(client, http.MethodPut, "/latest/api/token", "X-aliyun-ecs-metadata-token-ttl-seconds", "60")
	if err != nil && !allowV1 {
		return "", err
	}
	region, err := askMetadata(client, http.MethodGet, "/latest/meta-data/region-id", "X-aliyun-ecs-metadata-token", session)
	if err != nil {
		return "", err
	}
	if !scrub.RegionForm.MatchString(region) || len(region) > 64 {
		return "", noRegion(kms.ErrTransient, "the metadata service, which could tell it, answered something else than a region")
	}
	return region, nil
}

func askMetadata(client *http.Client, method, path, header, value string) (string, error) {
	r, err := http.NewRequest(method, "http://"+metadataHost+path, nil)
	if err != nil {
		return "", noRegion(kms.ErrTransient, "the metadata service, which could tell it, cannot be asked")
	}
	if value != "" {
		r.Header.Set(header, value)
	}
	resp, err := client.Do(r)
	if err != nil {
		return "", noRegion(kms.ErrTransient, "the metadata service, which could tell it: "+scrub.Describe(err, metadataHost))
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 4<<10))
	switch {
	case err != nil:
		return "", noRegion(kms.ErrTransient, "the metadata service, which could tell it: "+scrub.Describe(err, metadataHost))
	case resp.StatusCode != http.StatusOK:
		class := kms.ErrTransient
		if resp.StatusCode < 500 {
			class = kms.ErrConfiguration
		}
		return "", noRegion(class, fmt.Sprintf("the metadata service, which could tell it, refused (HTTP status %d)", resp.StatusCode))
	}
	return strings.TrimSpace(string(body)), nil
}
