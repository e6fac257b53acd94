package credentials

import (
	"context"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/kmsfs/kmsfs/kms"
	"github.com/kmsfs/kmsfs/kms/aliyun/cloudtest"
)

// cloud is everything that answers at the real names.
type cloud struct {
	mu   sync.Mutex
	last *http.Request // with its form
	body string
	h    http.HandlerFunc
}

func newCloud(t *testing.T) *cloud {
	c := &cloud{}
	cloudtest.Listen(t, "127.0.0.1:443", func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		r.Body = io.NopCloser(strings.NewReader(string(body)))
		r.ParseForm()
		c.mu.Lock()
		c.last, c.body = r, string(body)
		h := c.h
		c.mu.Unlock()
		h(w, r)
	})
	return c
}

func (c *cloud) answer(h http.HandlerFunc) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.h = h
}

func (c *cloud) request() (*http.Request, string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.last, c.body
}

// gives checks that a source gives what was issued last, with its expiry.
func gives(t *testing.T, name string, s *Source, m *cloudtest.Mint) {
	t.Helper()
	c, err := s.Retrieve(context.Background())
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	want := m.Last()
	if c != (AccessKey{want.AccessKeyId, want.AccessKeySecret, want.SecurityToken}) || !s.held.expires.Equal(want.Expires) {
		t.Errorf("%s: %s until %v, want %s until %v", name, c.AccessKeyID, s.held.expires, want.AccessKeyId, want.Expires)
	}
}

// profileSource is the profile p of a config.json.
func profileSource(t *testing.T, env map[string]string, profiles ...map[string]any) *Source {
	t.Helper()
	all := map[string]string{"HOME": home(t, config("p", profiles...), "")}
	for k, v := range env {
		all[k] = v
	}
	return find(t, Options{}, all)
}

// A role is assumed with a signed request at the STS that the profile names,
// also over another role and over that of the instance.
func TestAssumeRole(t *testing.T) {
	if !cloudtest.Alone(t) {
		return
	}
	type m = map[string]any
	mint := &cloudtest.Mint{Life: time.Hour}
	c := newCloud(t)
	i := &cloudtest.Instance{Mint: mint, T: t, Role: "web"}
	cloudtest.Listen(t, metadataHost+":80", i.Serve)
	var asked []string
	c.answer(func(w http.ResponseWriter, r *http.Request) {
		asked = append(asked, r.Host+" "+r.Form.Get("RoleArn"))
		status, _ := mint.Judge(r)
		if r.Form.Get("AccessKeyId") != accessKey && status != 200 || r.Form.Get("AccessKeyId") == accessKey && !cloudtest.SignedWith(r, secretKey) {
			t.Error("the signature is wrong")
		}
		if r.URL.Query().Get("Action") != "AssumeRole" || r.TLS == nil {
			t.Errorf("query %v", r.URL.Query())
		}
		mint.AssumeRole(w, r)
	})
	base := m{"name": "base", "mode": "AK", "access_key_id": accessKey, "access_key_secret": secretKey}
	role := func(name, mode string, more m) m {
		p := m{"name": name, "mode": mode, "ram_role_arn": "acs:ram::1:role/" + name}
		for k, v := range more {
			p[k] = v
		}
		return p
	}
	direct := role("p", "RamRoleArn", m{"access_key_id": accessKey, "access_key_secret": secretKey, "sts_region": "cn-test",
		"ram_session_name": "nginx", "expired_seconds": 900, "external_id": "x&y", "policy": `{"a":"b"}`})
	gives(t, "direct", profileSource(t, nil, direct), mint)
	r, _ := c.request()
	for k, want := range map[string]string{"RoleArn": "acs:ram::1:role/p", "RoleSessionName": "nginx", "DurationSeconds": "900", "ExternalId": "x&y", "Policy": `{"a":"b"}`} {
		if r.PostForm.Get(k) != want {
			t.Errorf("%s: %q, want %q", k, r.PostForm.Get(k), want)
		}
	}
	gives(t, "VPC", profileSource(t, map[string]string{"ALIBABA_CLOUD_VPC_ENDPOINT_ENABLED": "true"}, direct), mint)
	gives(t, "chain", profileSource(t, nil, base,
		role("p", "ChainableRamRoleArn", m{"source_profile": "q"}), role("q", "chainableramrolearn", m{"source_profile": "base", "enable_vpc": true, "sts_region": "cn-test"})), mint)
	gives(t, "over the instance", profileSource(t, map[string]string{"ALIBABA_CLOUD_ROLE_SESSION_NAME": "s"},
		m{"name": "ecs", "mode": "EcsRamRole"}, role("p", "ChainableRamRoleArn", m{"source_profile": "ecs"})), mint)
	dir := home(t, "", "[default]\ntype=ram_role_arn\nrole_arn=acs:ram::1:role/ini\nrole_session_name=s\naccess_key_id="+accessKey+"\naccess_key_secret="+secretKey+"\n")
	gives(t, "ini", find(t, Options{}, map[string]string{"HOME": dir}), mint)
	want := []string{
		"sts.cn-test.aliyuncs.com acs:ram::1:role/p", "sts-vpc.cn-test.aliyuncs.com acs:ram::1:role/p",
		"sts-vpc.cn-test.aliyuncs.com acs:ram::1:role/q", "sts.aliyuncs.com acs:ram::1:role/p",
		"sts.aliyuncs.com acs:ram::1:role/p", "sts.aliyuncs.com acs:ram::1:role/ini",
	}
	if strings.Join(asked, "\n") != strings.Join(want, "\n") {
		t.Errorf("asked %q", asked)
	}
}

// A pod's token is exchanged for its role, and read anew each time.
func TestOIDC(t *testing.T) {
	if !cloudtest.Alone(t) {
		return
	}
	mint := &cloudtest.Mint{Life: time.Hour}
	c := newCloud(t)
	c.answer(mint.AssumeRole)
	path := writeFile(t, "first.jwt.canary")
	env := map[string]string{
		"ALIBABA_CLOUD_ROLE_ARN": "acs:ram::1:role/pod", "ALIBABA_CLOUD_OIDC_PROVIDER_ARN": "acs:ram::1:oidc-provider/p",
		"ALIBABA_CLOUD_OIDC_TOKEN_FILE": path, "ALIBABA_CLOUD_STS_REGION": "cn-test",
	}
	s := find(t, Options{}, env)
	for _, jwt := range []string{"first.jwt.canary", "second.jwt.canary"} {
		if err := os.WriteFile(path, []byte(jwt), 0o600); err != nil {
			t.Fatal(err)
		}
		s.held = timedKey{}
		gives(t, jwt, s, mint)
		r, _ := c.request()
		if r.PostForm.Get("OIDCToken") != jwt || r.PostForm.Get("RoleArn") != "acs:ram::1:role/pod" || r.PostForm.Get("OIDCProviderArn") != "acs:ram::1:oidc-provider/p" ||
			r.URL.Query().Get("Action") != "AssumeRoleWithOIDC" || r.Host != "sts.cn-test.aliyuncs.com" || strings.Contains(r.URL.RawQuery, "canary") {
			t.Errorf("asked %s %v", r.Host, r.Form)
		}
	}
	// A token file that is not there yet is no reason not to mount.
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	s = find(t, Options{}, env)
	_, err := s.Retrieve(context.Background())
	cloudtest.Clean(t, "no file", err)
	if err := os.WriteFile(path, []byte("third"), 0o600); err != nil {
		t.Fatal(err)
	}
	s.PassPause()
	gives(t, "there now", s, mint)
}

// A credentials URI is asked over https, or on this machine over http.
func TestCredentialsURI(t *testing.T) {
	if !cloudtest.Alone(t) {
		return
	}
	mint := &cloudtest.Mint{Life: time.Hour}
	c := newCloud(t)
	issue := func(w http.ResponseWriter, r *http.Request) {
		if r.URL.RequestURI() != "/x?canary" {
			t.Errorf("asked %s", r.URL)
		}
		cloudtest.Answering(200, cloudtest.JSON(mint.Issue()))(w, r)
	}
	c.answer(issue)
	cloudtest.Listen(t, "127.0.0.1:7002", issue)
	for _, uri := range []string{"https://uri.example/x?canary", "http://127.0.0.1:7002/x?canary", "http://localhost:7002/x?canary"} {
		gives(t, uri, find(t, Options{}, map[string]string{"ALIBABA_CLOUD_CREDENTIALS_URI": uri}), mint)
		gives(t, uri, profileSource(t, nil, map[string]any{"name": "p", "mode": "CREDENTIALSURI", "credentials_uri": uri}), mint)
	}
}

// A person's sign-in is used as long as it lasts, and never renewed: the
// refresh token stays where it is, and the file as it was.
func TestSignIn(t *testing.T) {
	if !cloudtest.Alone(t) {
		return
	}
	mint := &cloudtest.Mint{Life: time.Hour}
	c := newCloud(t)
	c.answer(func(w http.ResponseWriter, r *http.Request) {
		k := mint.Issue()
		if r.Header.Get("Authorization") != "Bearer canaryaccess" {
			t.Errorf("Authorization: %q", r.Header.Get("Authorization"))
		}
		switch r.Host + r.URL.Path {
		case "signin.example/cloud-credentials":
			cloudtest.Answering(200, cloudtest.JSON(map[string]any{"CloudCredential": k}))(w, r)
		case "oauth.aliyun.com/v1/exchange":
			cloudtest.Answering(200, cloudtest.JSON(map[string]any{"accessKeyId": k.AccessKeyId, "accessKeySecret": k.AccessKeySecret, "securityToken": k.SecurityToken, "expiration": k.Expiration}))(w, r)
		default:
			t.Errorf("asked %s%s", r.Host, r.URL.Path)
		}
	})
	soon := time.Now().Add(10 * time.Minute).Unix() // when the library would renew it
	for name, p := range map[string]map[string]any{
		"CloudSSO": {"mode": "CloudSSO", "cloud_sso_sign_in_url": "https://signin.example/start", "cloud_sso_account_id": "1", "cloud_sso_access_config": "ac",
			"access_token": "canaryaccess", "cloud_sso_access_token_expire": soon},
		"OAuth": {"mode": "OAuth", "oauth_site_type": "CN", "oauth_access_token": "canaryaccess", "oauth_access_token_expire": soon, "oauth_refresh_token": "canaryrefresh"},
	} {
		p["name"] = "p"
		dir := home(t, config("p", p), "")
		path := filepath.Join(dir, ".aliyun/config.json")
		before, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		s := find(t, Options{}, map[string]string{"HOME": dir})
		gives(t, name, s, mint)
		if _, body := c.request(); strings.Contains(body, "canaryrefresh") {
			t.Errorf("%s: the refresh token was sent", name)
		}
		entries, _ := os.ReadDir(filepath.Dir(path))
		after, err := os.Stat(path)
		if err != nil || !os.SameFile(before, after) || before.ModTime() != after.ModTime() || len(entries) != 1 {
			t.Errorf("%s: the file was touched: %v, %v", name, err, entries)
		}
	}
}

// However a service that issues credentials refuses, it is told in our words,
// and no secret that was sent or might have come back shows.
func TestSTSErrors(t *testing.T) {
	if !cloudtest.Alone(t) {
		return
	}
	c := newCloud(t)
	soon := time.Now().Add(time.Hour).Unix()
	sources := map[string]func() *Source{
		"RamRoleArn": func() *Source {
			return profileSource(t, nil, map[string]any{"name": "p", "mode": "RamRoleArn", "ram_role_arn": "canaryarn", "access_key_id": accessKey, "access_key_secret": secretKey, "sts_token": token})
		},
		"OIDC": func() *Source {
			return profileSource(t, nil, map[string]any{"name": "p", "mode": "OIDC", "ram_role_arn": "canaryarn", "oidc_provider_arn": "canaryarn", "oidc_token": token})
		},
		"URI": func() *Source {
			return find(t, Options{}, map[string]string{"ALIBABA_CLOUD_CREDENTIALS_URI": "https://uri.example/canary?canary"})
		},
		"CloudSSO": func() *Source {
			return profileSource(t, nil, map[string]any{"name": "p", "mode": "CloudSSO", "cloud_sso_sign_in_url": "https://signin.example/canary", "cloud_sso_account_id": "1", "cloud_sso_access_config": "c", "access_token": token, "cloud_sso_access_token_expire": soon})
		},
		"OAuth": func() *Source {
			return profileSource(t, nil, map[string]any{"name": "p", "mode": "OAuth", "oauth_site_type": "CN", "oauth_access_token": token, "oauth_access_token_expire": soon})
		},
	}
	for name, tt := range map[string]struct {
		h     http.HandlerFunc
		class error  // for RamRoleArn
		says  string // for RamRoleArn
	}{
		"not allowed":    {cloudtest.Echo(403, "NoPermission"), kms.ErrAuthentication, "may not assume the role (NoPermission, RequestId " + requestID1 + ")"},
		"no such role":   {cloudtest.Echo(404, "EntityNotExist.Role"), kms.ErrAuthentication, "no such role"},
		"bad signature":  {cloudtest.Echo(400, "SignatureDoesNotMatch"), kms.ErrAuthentication, "access key secret is wrong"},
		"throttled":      {cloudtest.Echo(429, "Throttling.User"), kms.ErrTransient, "throttled"},
		"internal":       {cloudtest.Echo(500, "InternalError"), kms.ErrTransient, "InternalError"},
		"unknown":        {cloudtest.Echo(400, "Some.New.Code"), kms.ErrAuthentication, "an unknown code"},
		"code is canary": {cloudtest.Echo(400, accessKey), kms.ErrAuthentication, "an unknown code"},
		"HTML 502":       {cloudtest.Answering(502, "<html>canary"+token), kms.ErrTransient, "without a code"},
		"HTML 200":       {cloudtest.Answering(200, "<html>canary"+token), kms.ErrTransient, "not JSON"},
		"empty":          {cloudtest.Answering(200, "{}"), kms.ErrTransient, "no credentials"},
		"half":           {cloudtest.Answering(200, `{"AccessKeyId":"canary","CloudCredential":{"AccessKeyId":"canary"},"accessKeyId":"canary","Credentials":{"AccessKeyId":"canary"}}`), kms.ErrTransient, "no credentials"},
		"no expiry": {cloudtest.Answering(200, `{"Credentials":{"AccessKeyId":"canary","AccessKeySecret":"canary","SecurityToken":"canary"}}`),
			kms.ErrTransient, "lacks a member"},
		"redirect": {func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "https://uri.example/elsewhere?"+r.URL.RawQuery, http.StatusTemporaryRedirect)
		}, kms.ErrTransient, "redirect"},
		"to http": {func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "http://127.0.0.1/"+token, http.StatusFound)
		}, kms.ErrTransient, "redirect"},
		"closed": {func(w http.ResponseWriter, r *http.Request) { panic(http.ErrAbortHandler) }, kms.ErrTransient, "connection closed"},
	} {
		c.answer(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/elsewhere" {
				t.Error("a redirect was followed")
			}
			tt.h(w, r)
		})
		for mode, source := range sources {
			_, err := source().Retrieve(context.Background())
			cloudtest.Clean(t, name+", "+mode, err)
			if mode != "RamRoleArn" {
				continue
			}
			wantFault(t, name, err, tt.class)
			if !strings.Contains(err.Error(), tt.says) {
				t.Errorf("%s: %v, want %q", name, err, tt.says)
			}
		}
	}
}
