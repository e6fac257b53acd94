package keyservice

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/kmsfs/kmsfs/cmd/kmsfs/options"
	"github.com/kmsfs/kmsfs/kms"
	"github.com/kmsfs/kmsfs/kms/gate"
)

// environment has an access key, and no way out to a metadata service.
func environment(more map[string]string) func(string) string {
	return func(name string) string {
		if v, ok := more[name]; ok {
			return v
		}
		return map[string]string{
			"ALIBABA_CLOUD_ACCESS_KEY_ID": "id", "ALIBABA_CLOUD_ACCESS_KEY_SECRET": "secret", "ALIBABA_CLOUD_ECS_METADATA_DISABLED": "true",
		}[name]
	}
}

// The region that somebody has named wins over those that follow from a profile
// and from an endpoint.
func TestRegionThatIsNamedWins(t *testing.T) {
	for _, c := range []struct {
		region, endpoint, profile, want string
	}{
		{"cn-a", "kms.cn-b.aliyuncs.com", "cn-c", "cn-a"},
		{"", "kms.cn-b.aliyuncs.com", "cn-c", "cn-c"},
		{"", "kms.cn-b.aliyuncs.com", "", "cn-b"},
		{"", "kms-vpc.cn-b.aliyuncs.com:443", "", "cn-b"},
		{"", "kst-hzz.cryptoservice.kms.aliyuncs.com", "", defaultRegion},
		{"", "127.0.0.1:8443", "", defaultRegion},
		{"", "", "", ""},
	} {
		if got := regionOf(options.Connection{Region: c.region, Endpoint: c.endpoint}, c.profile); got != c.want {
			t.Errorf("%+v: %q", c, got)
		}
	}
}

// Without a region and an instance that could tell it there is no client, and the
// hint says what to set.
func TestNoRegion(t *testing.T) {
	s, err := options.Defaults()
	if err != nil {
		t.Fatal(err)
	}
	_, err = Client(s, environment(nil), nil)
	if err == nil || err.Error() != "choose endpoint: no region" {
		t.Errorf("%v", err)
	}
}

// A service finds the credentials that systemd keeps for it, unless others are
// named.
func TestSystemdCredential(t *testing.T) {
	dir := t.TempDir()
	env := map[string]string{"CREDENTIALS_DIRECTORY": dir}
	if got := systemdCredential(environment(env)); got != "" {
		t.Errorf("%q is not there", got)
	}
	path := filepath.Join(dir, "credentials")
	text := `{"current":"a","profiles":[{"name":"a","mode":"AK","access_key_id":"id","access_key_secret":"secret","region_id":"cn-a"}]}`
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := systemdCredential(environment(env)); got != path {
		t.Errorf("%q, want %q", got, path)
	}
	s, err := options.Defaults()
	if err != nil {
		t.Fatal(err)
	}
	c, err := Client(s, environment(env), nil)
	if err != nil || s.Credentials.File != path {
		t.Fatalf("%q, %v", s.Credentials.File, err)
	}
	c.Close()
	if got := systemdCredential(environment(nil)); got != "" {
		t.Errorf("without systemd: %q", got)
	}
}

// The rate of the gate holds for a request that is sent once more, as soon as there
// is a gate.
func TestRepeatAsksTheGate(t *testing.T) {
	s := &options.Settings{}
	if err := repeat(t.Context(), s); err != nil {
		t.Errorf("without a gate: %v", err)
	}
	no := errors.New("no")
	s.Repeat = func(context.Context) error { return no }
	if err := repeat(t.Context(), s); err != no {
		t.Errorf("with one: %v", err)
	}
}

// A single call may take no longer than what it brings could be served.
func TestAttemptIsNoLongerThanALife(t *testing.T) {
	for _, c := range []struct{ ttl, stale, want time.Duration }{
		{time.Second, 0, time.Second}, {time.Second, time.Second, 2 * time.Second}, {time.Hour, time.Hour, 3 * time.Second},
	} {
		if got := attempt(&options.Settings{TTL: c.ttl, Stale: c.stale}); got != c.want {
			t.Errorf("%+v: %v", c, got)
		}
	}
}

// described is a service that says something of every key.
type described string

func (d described) DescribeKey(context.Context, string) (json.RawMessage, error) {
	if d == "" {
		return nil, &kms.Error{Class: kms.ErrKeyState, Action: "DescribeKey"}
	}
	return json.RawMessage(d), nil
}

// An alias stands for the key that the service names, and for none if it names none.
func TestAliasIsWhatTheServiceNames(t *testing.T) {
	g := gate.New(nil, gate.Config{QPS: 100})
	resolve := func(answer described) (string, error) { return aliasOf{answer, g}.ResolveAlias(t.Context(), "alias/x") }
	if id, err := resolve(`{"KeyMetadata":{"KeyId":"k"}}`); id != "k" || err != nil {
		t.Errorf("%q, %v", id, err)
	}
	for answer, class := range map[described]error{
		`{}`: kms.ErrBadAnswer, `[`: kms.ErrBadAnswer, `{"KeyMetadata":{"KeyId":7}}`: kms.ErrBadAnswer, "": kms.ErrKeyState,
	} {
		if id, err := resolve(answer); id != "" || !errors.Is(err, class) {
			t.Errorf("%s: %q, %v", answer, id, err)
		}
	}
	ended, end := context.WithCancel(t.Context())
	end()
	for g.Token(ended) == nil {
		// until the turns of this second are used up
	}
	if _, err := (aliasOf{described("{}"), g}).ResolveAlias(ended, "alias/x"); err == nil || strings.Contains(err.Error(), "names no key") {
		t.Errorf("it asks out of turn: %v", err)
	}
}
