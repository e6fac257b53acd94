package emulator_test

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/aliyun/alibaba-cloud-sdk-go/sdk"
	"github.com/aliyun/alibaba-cloud-sdk-go/sdk/auth/credentials"
	"github.com/aliyun/alibaba-cloud-sdk-go/sdk/endpoints"
	"github.com/aliyun/alibaba-cloud-sdk-go/services/location"
	"github.com/google/go-cmp/cmp"
	"github.com/kmsfs/kmsfs/kms/emulator"
)

const locationVersion = "2015-06-12"

func (b *bench) addr() string { return strings.TrimPrefix(b.url, "https://") }

// everywhere leads every host name to the emulator, and checks that it proves
// to have that name.
func (b *bench) everywhere() *http.Transport {
	transport := &http.Transport{
		DisableKeepAlives: true,
		TLSClientConfig:   b.http.Transport.(*http.Transport).TLSClientConfig.Clone(),
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, b.addr())
		},
	}
	b.t.Cleanup(transport.CloseIdleConnections)
	return transport
}

// describe asks for an endpoint.
func (b *bench) describe(pairs ...string) result {
	b.t.Helper()
	return b.call("DescribeEndpoints", append([]string{"Version", locationVersion}, pairs...)...)
}

var kmsHere = []string{"Id", "cn-hangzhou", "ServiceCode", "kms", "Type", "openAPI"}

func TestDescribeEndpoints(t *testing.T) {
	b := start(t, t.TempDir(), withInstance)
	r := b.describe(kmsHere...)
	want := map[string]any{
		"Success": true, "RequestId": r.str("RequestId"),
		"Endpoints": map[string]any{"Endpoint": []any{map[string]any{
			"Protocols": map[string]any{"Protocols": []any{"HTTPS"}}, "Type": "openAPI", "Namespace": "1234567890123456",
			"Id": "cn-hangzhou", "SerivceCode": "kms", "Endpoint": b.addr(),
		}}},
	}
	if d := cmp.Diff(want, r.body); d != "" || !uuidForm.MatchString(r.str("RequestId")) {
		t.Errorf("answer (-want +got):\n%s", d)
	}
	for name, c := range map[string]struct {
		pairs  []string
		status int
		code   string
	}{
		"no type":         {kmsHere[:4], 200, ""},
		"no service":      {kmsHere[:2], 400, "MissingParameter"},
		"no region":       {kmsHere[2:], 400, "MissingParameter"},
		"another region":  {[]string{"Id", "cn-beijing", "ServiceCode", "kms"}, 404, "InvalidRegionId"},
		"KMS's version":   {append([]string{"Version", "2016-01-20"}, kmsHere...), 404, "InvalidApi.NotFound"},
		"another version": {append([]string{"Version", "2015-06-13"}, kmsHere...), 400, "InvalidParameter"},
	} {
		if r := b.describe(c.pairs...); r.status != c.status || r.code() != c.code {
			t.Errorf("%s: %d %s", name, r.status, r.raw)
		}
	}
	for name, pairs := range map[string][]string{
		"another service": {"Id", "cn-hangzhou", "ServiceCode", "ecs"},
		"another type":    {"Id", "cn-hangzhou", "ServiceCode", "kms", "Type", "innerAPI"},
	} {
		r := b.describe(pairs...)
		if list := r.body["Endpoints"].(map[string]any)["Endpoint"]; len(list.([]any)) != 0 || r.body["Success"] != true {
			t.Errorf("%s: %s", name, r.raw)
		}
	}
	b.refused(404, "InvalidApi.NotFound", "DescribeRegions", "Version", locationVersion)
	b.refused(404, "InvalidApi.NotFound", "Encrypt", "Version", locationVersion)
	b.atInstance().refused(404, "InvalidApi.NotFound", "DescribeEndpoints", append([]string{"Version", locationVersion}, kmsHere...)...)
	v := request("GET", "DescribeEndpoints", append([]string{"Version", locationVersion}, kmsHere...)...)
	v.Set("Signature", "x")
	if r, err := b.send(v); err != nil || r.code() != "SignatureDoesNotMatch" {
		t.Errorf("%v %s", err, r.raw)
	}
	if n := b.admin("GET", "/stats", "").body["calls"].(map[string]any)["DescribeEndpoints"]; n != 11.0 {
		t.Errorf("%v calls counted", n)
	}
}

// The endpoint named is where the client already is: by the name that it used,
// or, if that is the Location service's or none of ours, by the address.
func TestEndpointIsHere(t *testing.T) {
	b := start(t, t.TempDir(), func(c *emulator.Config) { c.SAN = []string{"kms.internal", "*.test"} })
	_, port, err := net.SplitHostPort(b.addr())
	if err != nil {
		t.Fatal(err)
	}
	for host, want := range map[string]string{
		"127.0.0.1:" + port:                b.addr(),
		"localhost:" + port:                "localhost:" + port,
		"[::1]:8443":                       "[::1]:8443",
		"kms.internal":                     "kms.internal",
		"kms.internal:9443":                "kms.internal:9443", // behind a forwarded port
		"a.test:1":                         "a.test:1",
		"kms.cn-hangzhou.aliyuncs.com":     "kms.cn-hangzhou.aliyuncs.com",
		"location.aliyuncs.com":            b.addr(),
		"Location-readonly.aliyuncs.com":   b.addr(),
		"location-readonly.aliyuncs.com:1": b.addr(),
		"kms.cn-beijing.aliyuncs.com":      b.addr(),
		"elsewhere.example":                b.addr(),
	} {
		v := request("POST", "DescribeEndpoints", append([]string{"Version", locationVersion}, kmsHere...)...)
		req, err := http.NewRequest("POST", b.url+"/?"+v.Encode(), nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Host = host
		r, err := b.do(req)
		if err != nil || r.status != 200 {
			t.Errorf("%s: %v %s", host, err, r.raw)
			continue
		}
		list := r.body["Endpoints"].(map[string]any)["Endpoint"].([]any)
		if got := list[0].(map[string]any)["Endpoint"]; got != want {
			t.Errorf("%s: got %v, want %s", host, got, want)
		}
	}
}

// The SDK's own resolver finds the emulator under the name of the Location
// service, as the aliyun CLI does, and the typed client reads both formats.
func TestSDKLocation(t *testing.T) {
	b := start(t, t.TempDir())
	config := sdk.NewConfig().WithScheme("HTTPS").WithAutoRetry(false).WithTimeout(20 * time.Second)
	config.Transport = roundTripper{b.everywhere()}
	provider := credentials.NewStaticAKCredentialsProvider(accessKey, secret)
	client, err := sdk.NewClientWithOptions("cn-hangzhou", config, provider)
	if err != nil {
		t.Fatal(err)
	}
	endpoint, found, err := new(endpoints.LocationResolver).TryResolve(&endpoints.ResolveParam{
		Product: "kms", RegionId: "cn-hangzhou", LocationProduct: "kms", LocationEndpointType: "openAPI",
		CommonApi: client.ProcessCommonRequest,
	})
	if err != nil || !found || endpoint != b.addr() {
		t.Errorf("resolved %q, %v, %v", endpoint, found, err)
	}
	typed, err := location.NewClientWithOptions("cn-hangzhou", config, provider)
	if err != nil {
		t.Fatal(err)
	}
	typed.Domain = "location.aliyuncs.com"
	for _, format := range []string{"JSON", "XML"} {
		request := location.CreateDescribeEndpointsRequest()
		request.Scheme, request.AcceptFormat = "HTTPS", format
		request.Id, request.ServiceCode, request.Type = "cn-hangzhou", "kms", "openAPI"
		answer, err := typed.DescribeEndpoints(request)
		if err != nil {
			t.Fatalf("%s: %v", format, err)
		}
		want := location.Endpoint{
			Endpoint: b.addr(), Id: "cn-hangzhou", Namespace: "1234567890123456", SerivceCode: "kms", Type: "openAPI",
			Protocols: location.ProtocolsInDescribeEndpoints{Protocols: []string{"HTTPS"}},
		}
		if d := cmp.Diff([]location.Endpoint{want}, answer.Endpoints.Endpoint); d != "" || !answer.Success {
			t.Errorf("%s (-want +got):\n%s", format, d)
		}
	}
	// No other host has those names.
	other := b.everywhere()
	other.TLSClientConfig = &tls.Config{}
	if resp, err := (&http.Client{Transport: other}).Get("https://location.aliyuncs.com/"); err == nil {
		resp.Body.Close()
		t.Error("the machine trusts the emulator")
	}
}
