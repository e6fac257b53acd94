package emulator_test

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/kmsfs/kmsfs/kms/emulator"
)

// withInstance plays generation 3 with an instance endpoint.
func withInstance(c *emulator.Config) {
	c.Generation, c.InstanceListen = 3, "127.0.0.1:0"
	c.InstanceCAOut = filepath.Join(filepath.Dir(c.State), "instance-ca.pem")
}

// clientOf trusts one authority, and calls every host by a name.
func clientOf(t *testing.T, ca []byte, name string) *http.Client {
	t.Helper()
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(ca) {
		t.Fatalf("no certificate in %q", ca)
	}
	return &http.Client{Timeout: 20 * time.Second, Transport: &http.Transport{
		DisableKeepAlives: true, TLSClientConfig: &tls.Config{RootCAs: pool, ServerName: name},
	}}
}

// atInstance is the same emulator, called at its instance endpoint.
func (b *bench) atInstance() *bench {
	b.t.Helper()
	at := *b
	at.url, at.http = b.server.InstanceURL(), clientOf(b.t, b.server.InstanceCAPEM(), "")
	return &at
}

// cryptography is every cryptographic action with a key and a blob of its.
func cryptography(id, blob string) [][]string {
	return [][]string{
		{"Encrypt", "KeyId", id, "Plaintext", "x"},
		{"Decrypt", "CiphertextBlob", blob},
		{"GenerateDataKey", "KeyId", id},
		{"GenerateDataKeyWithoutPlaintext", "KeyId", id},
		{"ReEncrypt", "CiphertextBlob", blob, "DestinationKeyId", id},
	}
}

func (b *bench) each(calls [][]string, want string) {
	b.t.Helper()
	for _, c := range calls {
		r := b.call(c[0], c[1:]...)
		if got := strings.TrimSpace(fmt.Sprint(r.status, " ", r.code())); got != want {
			b.t.Errorf("%s: %d %s, want %s", c[0], r.status, r.raw, want)
		}
	}
}

func (b *bench) seal(id string) string {
	b.t.Helper()
	return b.ok("Encrypt", "KeyId", id, "Plaintext", "x").str("CiphertextBlob")
}

func TestKeyOfAnInstance(t *testing.T) {
	dir := t.TempDir()
	first := start(t, dir)
	for _, c := range []struct{ asked, want string }{
		{"", ""}, {"kst-x", "kst-x"}, {"kst-hzz62f1cb66fa42qo0000", "kst-hzz62f1cb66fa42qo0000"},
	} {
		made := first.metadata(first.ok("CreateKey", "DKMSInstanceId", c.asked))
		if got, _ := made["DKMSInstanceId"].(string); got != c.want || !uuidForm.MatchString(made["KeyId"].(string)) {
			t.Errorf("%q made %v", c.asked, made)
		}
	}
	for _, wrong := range []string{"kst-", "kst-X", "kst-a b", "kst_a", "x", "kst-hzz62f1cb66fa42qo****", "kst-a\n"} {
		first.refused(400, "InvalidParameter", "CreateKey", "DKMSInstanceId", wrong)
	}
	first.stop()

	third := start(t, dir, generation3)
	for asked, want := range map[string]string{"": emulator.DefaultInstance, "kst-x": "kst-x"} {
		made := third.metadata(third.ok("CreateKey", "DKMSInstanceId", asked))
		described := third.metadata(third.ok("DescribeKey", "KeyId", made["KeyId"].(string)))
		if made["DKMSInstanceId"] != want || described["DKMSInstanceId"] != want {
			t.Errorf("%q made %v, described %v", asked, made, described)
		}
	}
	third.refused(400, "InvalidParameter", "CreateKey", "DKMSInstanceId", "kst-")
}

// The switch is for cryptography with keys of an instance at the shared
// endpoint, and for nothing else.
func TestInternetAccess(t *testing.T) {
	dir := t.TempDir()
	b := start(t, dir)
	free, migrated := b.newKey(), b.metadata(b.ok("CreateKey", "DKMSInstanceId", "kst-x"))["KeyId"].(string)
	freeBlob, migratedBlob := b.seal(free), b.seal(migrated)
	b.stop()
	b = start(t, dir, withInstance)
	owned := b.newKey()
	blob := b.seal(owned)
	b.stop()
	b = start(t, dir, withInstance, func(c *emulator.Config) { c.InternetAccess = "off" })
	set := func(on bool) {
		t.Helper()
		if r := b.admin("POST", "/internet-access", fmt.Sprintf(`{"on":%v}`, on)); r.status != 200 {
			t.Fatalf("%d %s", r.status, r.raw)
		}
	}
	const refused = "400 UnsupportedOperation"
	for _, on := range []bool{false, true, false} {
		set(on)
		if got := b.admin("GET", "/internet-access", "").body["on"]; got != on {
			t.Errorf("on: %v, want %v", got, on)
		}
		want := map[bool]string{true: "200", false: refused}[on]
		b.each(cryptography(owned, blob), want)
		b.each(cryptography(migrated, migratedBlob), want)
		b.each(cryptography(free, freeBlob), "200")
		b.each([][]string{
			{"ReEncrypt", "CiphertextBlob", freeBlob, "DestinationKeyId", owned},
			{"ReEncrypt", "CiphertextBlob", blob, "DestinationKeyId", free},
		}, want)
		for _, manage := range []string{"DescribeKey", "CreateKeyVersion", "ListKeyVersions", "DisableKey", "EnableKey", "ListAliasesByKeyId", "ListResourceTags"} {
			b.ok(manage, "KeyId", owned)
		}
		b.ok("CreateKey")
		b.atInstance().each(cryptography(owned, blob)[:4], "200")
	}
	for _, bad := range []string{``, `{}`, `{"on":"yes"}`, `{"on":null}`, `{"off":true}`, `{"on":true}{}`, `true`} {
		if r := b.admin("POST", "/internet-access", bad); r.status != 400 || r.str("error") == "" {
			t.Errorf("%s: %d %s", bad, r.status, r.raw)
		}
	}
}

func TestStartsWithInternetAccess(t *testing.T) {
	for given, want := range map[string]bool{"": true, "on": true, "off": false} {
		b := start(t, t.TempDir(), func(c *emulator.Config) { c.InternetAccess = given })
		if got := b.admin("GET", "/internet-access", "").body["on"]; got != want {
			t.Errorf("%q: %v", given, got)
		}
	}
}

// An instance does what the shared endpoint does, for its own keys, and has no
// ReEncrypt.
func TestInstanceEndpoint(t *testing.T) {
	dir := t.TempDir()
	shared := start(t, dir)
	free := shared.newKey()
	freeBlob := shared.seal(free)
	shared.stop()
	shared = start(t, dir, withInstance, func(c *emulator.Config) { c.QPS = 1 })
	at := shared.atInstance()
	for range 2 { // ids of both lengths
		id := at.newKey()
		at.ok("CreateAlias", "AliasName", "alias/"+id, "KeyId", id)
		blob := at.seal("alias/" + id)
		for range 3 { // nor does it count calls
			at.each(cryptography(id, blob)[:4], "200")
		}
		at.each(cryptography(id, blob)[4:], "400 UnsupportedOperation")
		at.each(cryptography(free, freeBlob)[:4], "404 Forbidden.KeyNotFound")
		at.ok("DisableKey", "KeyId", id)
		at.each(cryptography(id, blob)[:4], "409 Rejected.Disabled")
		shared.each([][]string{{"DescribeKey", "KeyId", "alias/" + id}}, "200")
	}
	at.ok("DescribeKey", "KeyId", free)
	at.refused(404, "InvalidApi.NotFound", "Encript")
	at.refused(400, "Emulator.NotEmulated", "GetSecretValue", "SecretName", "x")
	v := request("POST", "Encrypt", "KeyId", free, "Plaintext", "x")
	v.Set("Signature", "x")
	if r, err := at.send(v); err != nil || r.code() != "SignatureDoesNotMatch" {
		t.Errorf("%v %s", err, r.raw)
	}
}

func TestOldImage(t *testing.T) {
	b := start(t, t.TempDir(), withInstance, func(c *emulator.Config) { c.InstanceImage = "old" })
	id := b.newKey()
	blob, at := b.seal(id), b.atInstance()
	at.each(cryptography(id, blob), "400 MissingParameter")
	r := at.call("Decrypt", "CiphertextBlob", blob)
	if got := r.str("Message"); got != `The parameter "x-kms-acccesskeyid" is needed but not provided.` {
		t.Errorf("says %q", got)
	}
	at.ok("DescribeKey", "KeyId", id)
	b.each(cryptography(id, blob), "200")
}

// Each endpoint has its authority and its names, and a client that trusts the
// other one, or calls it by another name, is refused.
func TestAuthorities(t *testing.T) {
	b := start(t, t.TempDir(), withInstance, func(c *emulator.Config) {
		c.SAN, c.InstanceSAN = []string{"kms.internal"}, []string{"kst.internal", "192.0.2.7"}
	})
	const (
		byInstance = emulator.DefaultInstance + ".cryptoservice.kms.aliyuncs.com"
		byRegion   = "kms.cn-hangzhou.aliyuncs.com"
	)
	sharedCA, instanceCA := b.server.CAPEM(), b.server.InstanceCAPEM()
	for name, c := range map[string]struct {
		url, by   string
		ca        []byte
		unknownCA bool
		wrongName bool
	}{
		"shared":                   {b.server.URL(), byRegion, sharedCA, false, false},
		"shared, location":         {b.server.URL(), "location.aliyuncs.com", sharedCA, false, false},
		"shared, its SAN":          {b.server.URL(), "kms.internal", sharedCA, false, false},
		"shared, by an instance":   {b.server.URL(), byInstance, sharedCA, false, true},
		"shared, other authority":  {b.server.URL(), byRegion, instanceCA, true, false},
		"instance":                 {b.server.InstanceURL(), byInstance, instanceCA, false, false},
		"instance, by address":     {b.server.InstanceURL(), "", instanceCA, false, false},
		"instance, localhost":      {b.server.InstanceURL(), "localhost", instanceCA, false, false},
		"instance, loopback IPv6":  {b.server.InstanceURL(), "::1", instanceCA, false, false},
		"instance, its SAN":        {b.server.InstanceURL(), "kst.internal", instanceCA, false, false},
		"instance, its address":    {b.server.InstanceURL(), "192.0.2.7", instanceCA, false, false},
		"instance, shared SAN":     {b.server.InstanceURL(), "kms.internal", instanceCA, false, true},
		"instance, another":        {b.server.InstanceURL(), "kst-x.cryptoservice.kms.aliyuncs.com", instanceCA, false, true},
		"instance, by region":      {b.server.InstanceURL(), byRegion, instanceCA, false, true},
		"instance, location":       {b.server.InstanceURL(), "location.aliyuncs.com", instanceCA, false, true},
		"instance, shared's":       {b.server.InstanceURL(), byInstance, sharedCA, true, false},
		"instance, address, other": {b.server.InstanceURL(), "", sharedCA, true, false},
	} {
		resp, err := clientOf(t, c.ca, c.by).Get(c.url)
		if err == nil {
			resp.Body.Close()
		}
		unknown, wrong := errors.As(err, new(x509.UnknownAuthorityError)), errors.As(err, new(x509.HostnameError))
		if unknown != c.unknownCA || wrong != c.wrongName || (err == nil) == (unknown || wrong) {
			t.Errorf("%s: %v", name, err)
		}
	}
	content, err := os.ReadFile(filepath.Join(b.dir, "instance-ca.pem"))
	if err != nil || string(content) != string(instanceCA) {
		t.Errorf("%v: %q", err, content)
	}
	block, _ := pem.Decode(instanceCA)
	ca, err := x509.ParseCertificate(block.Bytes)
	if err != nil || ca.Subject.CommonName != "kmsfs emulator instance TEST ONLY" {
		t.Errorf("%v: the authority is %v", err, ca.Subject)
	}
	// The certificates that clients were given hold.
	b.stop()
	again := start(t, b.dir, withInstance)
	if string(again.server.CAPEM()) != string(sharedCA) || string(again.server.InstanceCAPEM()) != string(instanceCA) {
		t.Error("another authority after a restart")
	}
}

func TestWithoutInstance(t *testing.T) {
	b := start(t, t.TempDir(), generation3)
	if b.server.InstanceURL() != "" || b.server.InstanceCAPEM() != nil {
		t.Errorf("an instance at %q", b.server.InstanceURL())
	}
}

func TestConfigRefused(t *testing.T) {
	for _, c := range []struct {
		change func(*emulator.Config)
		says   string
	}{
		{func(c *emulator.Config) { c.Generation = 2 }, "choose generation: 2 is neither 1 nor 3"},
		{func(c *emulator.Config) { c.Generation, c.BlobLayout = 3, "2019" }, "choose blob layout: keys of generation 3 never had that of 2019"},
		{func(c *emulator.Config) { c.InstanceImage = "new" }, `choose instance image: "new" is neither current nor old`},
		{func(c *emulator.Config) { c.InternetAccess = "no" }, `choose internet access: "no" is neither on nor off`},
		{func(c *emulator.Config) { c.InstanceCAOut = "x" }, "play instance: it has no address to listen on"},
		{func(c *emulator.Config) { c.InstanceSAN = []string{"x"} }, "play instance: it has no address to listen on"},
		{func(c *emulator.Config) { c.InstanceImage = "old" }, "play instance: it has no address to listen on"},
		{func(c *emulator.Config) { c.InstanceListen = "8445" }, "listen for instance on 8445: not an address such as 127.0.0.1:8445"},
		{func(c *emulator.Config) { c.InstanceListen, c.InstanceSAN = ":0", []string{"a/b"} }, `name server: "a/b" is neither a host name nor an IP address`},
		{func(c *emulator.Config) { c.InstanceListen, c.CAOut, c.InstanceCAOut = ":0", "ca", "ca" }, "write certificate: ca cannot hold both authorities"},
	} {
		config := emulator.Config{
			Listen: "127.0.0.1:0", State: filepath.Join(t.TempDir(), "state.db"), AccessKeyID: accessKey, AccessKeySecret: secret,
		}
		c.change(&config)
		s, err := emulator.New(config)
		if !errors.Is(err, emulator.ErrConfig) || err.Error() != c.says {
			t.Errorf("got %v, want %s", err, c.says)
		}
		if err == nil {
			s.Close()
		}
	}
}
