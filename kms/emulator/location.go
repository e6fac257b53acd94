package emulator

import (
	"net"
	"slices"
	"strings"

	"github.com/kmsfs/kmsfs/kms/emulator/account"
	"github.com/kmsfs/kmsfs/kms/emulator/wire"
)

// The Location service tells clients where a product is in a region. The
// aliyun CLI of 2019 asks it before every first call, unless it is given an
// endpoint. It is a product of its own, with its own version and names; of its
// actions this one is played, at the shared endpoint only.
const (
	locationVersion = "2015-06-12"
	locationAction  = "DescribeEndpoints"
)

var locationNames = []string{"location.aliyuncs.com", "location-readonly.aliyuncs.com"}

// locate performs an action of the Location service.
func (s *Server) locate(at *endpoint, c *wire.Call) (wire.Reply, error) {
	if c.Action != locationAction || at.instance {
		return nil, wire.ErrNoSuchAPI
	}
	if err := s.auth.Check(c); err != nil {
		return nil, err
	}
	region, err := c.Params.Need("Id")
	if err != nil {
		return nil, err
	}
	service, err := c.Params.Need("ServiceCode")
	if err != nil {
		return nil, err
	}
	if region != s.region {
		return nil, wire.ErrNoSuchRegion
	}
	// Without a Type the answer is that for openAPI, and what is not here has
	// an empty list (not documented; chosen).
	kind := c.Params["Type"]
	list := []map[string]any{}
	if service == "kms" && (kind == "" || kind == "openAPI") {
		list = append(list, map[string]any{
			"Endpoint":    at.reachedBy(c),
			"Id":          region,
			"Namespace":   account.ID,
			"Protocols":   map[string]any{"Protocols": []string{"HTTPS"}}, // and HTTP where there is one (seen)
			"SerivceCode": service,                                        // so spelt (seen)
			"Type":        "openAPI",
		})
	}
	return wire.Reply{"Endpoints": map[string]any{"Endpoint": list}, "Success": true}, nil
}

// reachedBy is the address that the client had for this server, since it is
// certain to lead here again: its own Host, if the certificate has that name,
// or else (it came by a name of the Location service) the address at which the
// connection arrived. The true name of KMS would lead to the true KMS.
func (e *endpoint) reachedBy(c *wire.Call) string {
	host, _, err := net.SplitHostPort(c.Host)
	if err != nil {
		host = c.Host
	}
	if !slices.Contains(locationNames, strings.ToLower(host)) && e.leaf.VerifyHostname(host) == nil {
		return c.Host
	}
	return c.Arrived
}
