package aliyun

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/kmsfs/kmsfs/kms"
)

func find(t *testing.T, o CredentialOptions, env map[string]string) *CredentialSource {
	t.Helper()
	o.Getenv = environ(env)
	s, err := FindCredentials(o)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// On an instance with a role nothing needs to be configured. The role's name
// may be given, and then is not asked for.
func TestInstanceRole(t *testing.T) {
	if !alone(t) {
		return
	}
	i := &instance{mint: &mint{life: time.Hour}, t: t, role: "web"}
	listen(t, metadataHost+":80", i.serve)
	for n, tt := range []struct {
		o    CredentialOptions
		env  map[string]string
		list int
	}{
		{CredentialOptions{}, nil, 1},
		{CredentialOptions{RAMRole: "web"}, nil, 0},
		{CredentialOptions{}, map[string]string{"ALIBABA_CLOUD_ECS_METADATA": "web"}, 0},
		{CredentialOptions{}, map[string]string{"HOME": home(t, config("a", map[string]any{"name": "a", "mode": "ecsramrole", "ram_role_name": "web"}), "")}, 0},
		{CredentialOptions{}, map[string]string{"HOME": home(t, "", "[default]\ntype=ecs_ram_role\nrole_name=web\n")}, 0},
	} {
		before := i.asked("GET /latest/meta-data/ram/security-credentials/")
		s := find(t, tt.o, tt.env)
		if i.count() != n {
			t.Fatalf("%d: asked by FindCredentials", n)
		}
		c, err := s.lend(context.Background())
		want := i.issued[n]
		if err != nil || c != (Credentials{want.AccessKeyId, want.AccessKeySecret, want.SecurityToken}) {
			t.Fatalf("%d: %v", n, err)
		}
		if !s.held.expires.Equal(want.expires) {
			t.Errorf("%d: expires %v, want %v", n, s.held.expires, want.expires)
		}
		if got := i.asked("GET /latest/meta-data/ram/security-credentials/") - before; got != tt.list {
			t.Errorf("%d: the role was asked for %d times, want %d", n, got, tt.list)
		}
	}
	_, err := find(t, CredentialOptions{RAMRole: "another"}, nil).lend(context.Background())
	clean(t, "another role", err)
	wantClass(t, "another role", missing(context.Background(), "Decrypt", err), kms.ErrAuthentication)
}

// A metadata service without session tokens is used only where that is asked
// for.
func TestIMDSv1(t *testing.T) {
	if !alone(t) {
		return
	}
	i := &instance{mint: &mint{life: time.Hour}, t: t, role: "web", region: "cn-test", v1: true}
	listen(t, metadataHost+":80", i.serve)
	for value, allowed := range map[string]bool{"": false, "true": false, "0": false, "false": true, "False": true} {
		s := find(t, CredentialOptions{}, map[string]string{"ALIBABA_CLOUD_IMDSV1_DISABLED": value})
		before := i.asked("GET /latest/meta-data/ram/security-credentials/web") + i.asked("GET /latest/meta-data/region-id")
		_, err := s.lend(context.Background())
		region, regionErr := s.instanceRegion(context.Background())
		if (err == nil) != allowed || (regionErr == nil) != allowed || allowed && region != "cn-test" {
			t.Errorf("%q: %v, %q, %v", value, err, region, regionErr)
		}
		if !allowed {
			clean(t, value, err)
			clean(t, value, regionErr)
			if i.asked("GET /latest/meta-data/ram/security-credentials/web")+i.asked("GET /latest/meta-data/region-id") != before {
				t.Errorf("%q: asked without a session", value)
			}
		}
	}
}

// A region that nobody names is the instance's. It is asked for at the first
// call, once for all callers and for the whole life, and again only where that
// failed.
func TestInstanceRegion(t *testing.T) {
	if !alone(t) {
		return
	}
	m := &mint{life: time.Hour}
	i := &instance{mint: m, t: t, role: "web"}
	listen(t, metadataHost+":80", i.serve)
	var mu sync.Mutex
	hosts := map[string]int{}
	listen(t, "127.0.0.1:443", func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		hosts[r.Host]++
		mu.Unlock()
		if r.URL.Query().Get("RegionId") != "cn-test" {
			t.Errorf("RegionId %q", r.URL.Query().Get("RegionId"))
		}
		m.kms(w, r)
	})
	c, err := New(Config{Credentials: find(t, CredentialOptions{}, nil), Timeout: 30 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if n := len(i.seen); n != 0 {
		t.Fatalf("New has asked: %v", i.seen)
	}
	_, err = c.Decrypt(context.Background(), blobOf(t, 1), nil)
	clean(t, "no region", err)
	wantClass(t, "no region", err, kms.ErrConfiguration)
	if e, ok := errors.AsType[*kms.Error](err); !ok || e.Hint != hintRegion || !strings.Contains(e.Detail, "no region is set") {
		t.Errorf("no region: %v, hint %q", err, e.Hint)
	}
	i.mu.Lock()
	i.region = "cn-test"
	i.mu.Unlock()
	time.Sleep(failurePause)
	var wg sync.WaitGroup
	for range 50 {
		wg.Go(func() {
			if _, err := c.Decrypt(context.Background(), blobOf(t, 1), nil); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if n := i.asked("GET /latest/meta-data/region-id"); n != 2 {
		t.Errorf("asked %d times", n)
	}
	if len(hosts) != 1 || hosts["kms.cn-test.aliyuncs.com"] != 50 {
		t.Errorf("calls to %v", hosts)
	}
	// A region that would lead elsewhere is none.
	i.mu.Lock()
	i.region = "evil.example/canary"
	i.mu.Unlock()
	s := find(t, CredentialOptions{}, nil)
	_, err = s.instanceRegion(context.Background())
	clean(t, "hostile", err)
	if _, again := s.instanceRegion(context.Background()); !errors.Is(again, err) {
		t.Errorf("asked again at once: %v", again)
	}
}

// Tokens of two seconds rotate under sixteen readers for eight seconds, and not
// one read fails. The service is strict about their expiry.
func TestRotationUnderLoad(t *testing.T) {
	if !aloneNow(t) { // and not with other tests beside it
		return
	}
	m := &mint{life: 2 * time.Second}
	i := &instance{mint: m, t: t, role: "web"}
	listen(t, metadataHost+":80", func(w http.ResponseWriter, r *http.Request) {
		time.Sleep(20 * time.Millisecond)
		i.serve(w, r)
	})
	var calls, rejected sync.Map
	c, _ := service(t, func(w http.ResponseWriter, r *http.Request) {
		status, _ := m.judge(r)
		id := r.Form.Get("AccessKeyId")
		calls.Store(id, true)
		if status != 200 {
			rejected.Store(r.Form.Get("SignatureNonce"), true)
		}
		m.kms(w, r)
	}, func(c *Config) { c.Credentials = find(t, CredentialOptions{}, nil) })
	var wg sync.WaitGroup
	end := time.Now().Add(8 * time.Second)
	for n := range 16 {
		wg.Go(func() {
			reads := 0
			for time.Now().Before(end) {
				if _, err := c.Decrypt(context.Background(), blobOf(t, 1), nil); err != nil {
					t.Errorf("reader %d, read %d: %v", n, reads, err)
					return
				}
				reads++
			}
		})
	}
	wg.Wait()
	size := func(m *sync.Map) (n int) { m.Range(func(any, any) bool { n++; return true }); return n }
	t.Logf("%d tokens issued, %d used, %d requests rejected and made again", m.count(), size(&calls), size(&rejected))
	if size(&calls) < 3 {
		t.Errorf("%d tokens were used: they did not rotate", size(&calls))
	}
	if m.count() > 40 {
		t.Errorf("%d tokens were asked for", m.count())
	}
}

// However the metadata service misbehaves, it is told in our words.
func TestInstanceErrors(t *testing.T) {
	if !alone(t) {
		return
	}
	k := (&mint{life: time.Hour}).issue()
	answer := func(change func(map[string]any)) string {
		a := map[string]any{"Code": "Success", "AccessKeyId": k.AccessKeyId, "AccessKeySecret": k.AccessKeySecret, "SecurityToken": k.SecurityToken, "Expiration": k.Expiration}
		change(a)
		return toJSON(a)
	}
	var serve http.HandlerFunc
	var mu sync.Mutex
	listen(t, metadataHost+":80", func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPut {
			fmt.Fprint(w, "canarysession")
			return
		}
		mu.Lock()
		h := serve
		mu.Unlock()
		h(w, r)
	})
	for name, tt := range map[string]struct {
		h     http.HandlerFunc
		class error
		says  string
	}{
		"no role":     {answering(404, "canary"), kms.ErrAuthentication, "does not have the role"},
		"refused":     {answering(403, "canary"), kms.ErrAuthentication, "HTTP status 403"},
		"failing":     {answering(502, "canary"), kms.ErrTransient, "HTTP status 502"},
		"HTML":        {answering(200, "<html>canary"), kms.ErrTransient, "not JSON"},
		"no code":     {answering(200, answer(func(a map[string]any) { delete(a, "Code") })), kms.ErrTransient, "lacks a member"},
		"no expiry":   {answering(200, answer(func(a map[string]any) { delete(a, "Expiration") })), kms.ErrTransient, "lacks a member"},
		"odd expiry":  {answering(200, answer(func(a map[string]any) { a["Expiration"] = "canary" })), kms.ErrTransient, "expiry is malformed"},
		"past expiry": {answering(200, answer(func(a map[string]any) { a["Expiration"] = "2001-01-01T00:00:00Z" })), kms.ErrAuthentication, "expired already"},
		"no secret":   {answering(200, answer(func(a map[string]any) { delete(a, "AccessKeySecret") })), kms.ErrTransient, "no credentials"},
		"failed":      {answering(200, answer(func(a map[string]any) { a["Code"] = "canary" })), kms.ErrTransient, "none ready"},
		"odd secret":  {answering(200, answer(func(a map[string]any) { a["AccessKeySecret"] = "canary\n" })), kms.ErrAuthentication, "white space"},
		"redirect": {func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "http://127.0.0.1:80/canary", http.StatusFound)
		}, kms.ErrTransient, "redirect"},
		"to itself": {func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/canary", http.StatusFound) }, kms.ErrTransient, "redirect"},
		"closed":    {func(w http.ResponseWriter, r *http.Request) { panic(http.ErrAbortHandler) }, kms.ErrTransient, "connection closed"},
		"slow":      {func(w http.ResponseWriter, r *http.Request) { <-r.Context().Done() }, kms.ErrTransient, "timed out"},
		"without an end": {func(w http.ResponseWriter, r *http.Request) {
			for r.Context().Err() == nil {
				fmt.Fprint(w, strings.Repeat("canary", 10))
				time.Sleep(time.Millisecond)
			}
		}, kms.ErrTransient, "timed out"},
	} {
		mu.Lock()
		serve = tt.h
		mu.Unlock()
		s := find(t, CredentialOptions{RAMRole: "web"}, nil)
		begun := time.Now()
		_, err := s.lend(context.Background())
		err = missing(context.Background(), "Decrypt", err)
		clean(t, name, err)
		wantClass(t, name, err, tt.class)
		if !strings.Contains(err.Error(), tt.says) || time.Since(begun) > 5*time.Second {
			t.Errorf("%s: %v after %v, want %q", name, err, time.Since(begun), tt.says)
		}
		// The region is asked for by code of our own.
		if name != "odd secret" {
			_, err = s.instanceRegion(context.Background())
			clean(t, name+", region", err)
		}
	}
}

// Where nothing is at the address, that is soon known.
func TestNoInstance(t *testing.T) {
	if !alone(t) {
		return
	}
	s := find(t, CredentialOptions{}, nil)
	_, err := s.lend(context.Background())
	clean(t, "credentials", err)
	if err == nil || !strings.Contains(err.Error(), "connection refused") {
		t.Errorf("%v", err)
	}
	_, err = s.instanceRegion(context.Background())
	clean(t, "region", err)
	if err == nil || !strings.Contains(err.Error(), "connection refused") {
		t.Errorf("%v", err)
	}
}
