package emulator

import (
	"net"
	"slices"
	"strings"
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
func (s *Server) locate(c *call) (reply, error) {
	if c.action != locationAction || c.at.instance {
		return nil, errNoSuchAPI
	}
	if err := s.auth.check(c); err != nil {
		return nil, err
	}
	region, err := c.params.need("Id")
	if err != nil {
		return nil, err
	}
	service, err := c.params.need("ServiceCode")
	if err != nil {
		return nil, err
	}
	if region != s.account.region {
		return nil, errNoSuchRegion
	}
	// Without a Type the answer is that for openAPI, and what is not here has
	// an empty list (not documented; chosen).
	kind := c.params["Type"]
	list := []map[string]any{}
	if service == "kms" && (kind == "" || kind == "openAPI") {
		list = append(list, map[string]any{
			"Endpoint":    c.reachedAs(),
			"Id":          region,
			"Namespace":   accountID,
			"Protocols":   map[string]any{"Protocols": []string{"HTTPS"}}, // and HTTP where there is one (seen)
			"SerivceCode": service,                                        // so spelt (seen)
			"Type":        "openAPI",
		})
	}
	return reply{"Endpoints": map[string]any{"Endpoint": list}, "Success": true}, nil
}

// reachedAs is the address that the client had for this server, since it is
// certain to lead here again: its own Host, if the certificate has that name,
// or else (it came by a name of the Location service) the address at which the
// connection arrived. The true name of KMS would lead to the true KMS.
func (c *call) reachedAs() string {
	host, _, err := net.SplitHostPort(c.host)
	if err != nil {
		host = c.host
	}
	if !slices.Contains(locationNames, strings.ToLower(host)) && c.at.leaf.VerifyHostname(host) == nil {
		return c.host
	}
	return c.arrived
}
