package aliyun

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"regexp"
	"strconv"
	"strings"

	"github.com/kmsfs/kmsfs/kms/aliyun/credentials"
	"github.com/kmsfs/kmsfs/kms/aliyun/scrub"
)

var (
	// ErrBadRegion: the region is empty or malformed.
	ErrBadRegion = errors.New("not a region id")
	// ErrBadEndpoint: the endpoint is not host or host:port.
	ErrBadEndpoint = errors.New("must be host or host:port, without https://")
)

var (
	labelForm = regexp.MustCompile(`^[a-zA-Z0-9_]([a-zA-Z0-9_-]{0,61}[a-zA-Z0-9_])?$`)
	portForm  = regexp.MustCompile(`^[1-9][0-9]{0,4}$`)
)

// destination is where a client's requests go.
type destination struct {
	region   string
	endpoint string // the authority every request must go to
}

// destination returns where to, asking the instance for its region if need be.
func (c *Client) destination(ctx context.Context) (destination, error) {
	if d := c.known.Load(); d != nil {
		return *d, nil
	}
	region, err := c.keys.(*credentials.Source).InstanceRegion(ctx)
	if err != nil {
		return destination{}, err
	}
	cfg := c.cfg
	cfg.Region = region
	endpoint, err := endpointOf(cfg)
	if err != nil {
		return destination{}, err
	}
	d := &destination{region, endpoint}
	c.known.Store(d)
	return *d, nil
}

// endpointOf returns the authority that requests go to. What is wrong with a
// value is said without quoting it: somebody may have put a password there.
func endpointOf(cfg Config) (string, error) {
	if !scrub.RegionForm.MatchString(cfg.Region) {
		if cfg.Region == "" {
			return "", fmt.Errorf("check region: %w: empty", ErrBadRegion)
		}
		return "", fmt.Errorf("check region: %w: only letters, digits, - and _", ErrBadRegion)
	}
	if cfg.Endpoint == "" {
		host := "kms." + cfg.Region + ".aliyuncs.com"
		if cfg.VPC {
			host = "kms-vpc." + cfg.Region + ".aliyuncs.com"
		}
		return host, nil
	}
	if cfg.VPC {
		return "", errors.New("check endpoint: given together with vpc, which chooses one itself")
	}
	host, port := cfg.Endpoint, ""
	if strings.HasPrefix(host, "[") || strings.Contains(host, ":") {
		var err error
		if host, port, err = net.SplitHostPort(cfg.Endpoint); err != nil || !portOK(port) {
			return "", fmt.Errorf("check endpoint: %w", ErrBadEndpoint)
		}
	}
	if !hostOK(host) {
		return "", fmt.Errorf("check endpoint: %w", ErrBadEndpoint)
	}
	return cfg.Endpoint, nil
}

func portOK(port string) bool {
	n, err := strconv.Atoi(port)
	return err == nil && portForm.MatchString(port) && n <= 65535
}

func hostOK(host string) bool {
	if strings.Contains(host, ":") {
		addr, err := netip.ParseAddr(host)
		return err == nil && addr.Zone() == ""
	}
	for label := range strings.SplitSeq(host, ".") {
		if !labelForm.MatchString(label) {
			return false
		}
	}
	return len(host) <= 253
}

// hostname is the endpoint without its port and brackets.
func hostname(endpoint string) string {
	if host, _, err := net.SplitHostPort(endpoint); err == nil {
		return host
	}
	return endpoint
}

// isAliyun says whether a host is one of Alibaba Cloud's own names.
func isAliyun(host string) bool {
	return strings.HasSuffix(strings.ToLower(host), ".aliyuncs.com")
}
