package aliyun

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// home makes a home directory with profile files; an empty text makes none.
func home(t *testing.T, config, ini string) string {
	t.Helper()
	dir := t.TempDir()
	for path, text := range map[string]string{".aliyun/config.json": config, ".alibabacloud/credentials": ini} {
		if text == "" {
			continue
		}
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, path)), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, path), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func config(current string, profiles ...map[string]any) string {
	return toJSON(map[string]any{"current": current, "profiles": profiles})
}

func akProfile(name string) map[string]any {
	return map[string]any{"name": name, "mode": "AK", "access_key_id": "id-of-" + name, "access_key_secret": secretKey, "region_id": "cn-" + name}
}

func environ(env map[string]string) func(string) string {
	return func(name string) string { return env[name] }
}

const someINI = "[default]\ntype = access_key\naccess_key_id = id-of-ini\naccess_key_secret = " + secretKey +
	"\nregion_id = cn-ini\n[other] ; a comment\ntype = access_key\naccess_key_id = \"id-of-other\"\naccess_key_secret = " + secretKey + "\n"

// What is configured first is the source, and what is asked for by an option
// before all.
func TestWhichSource(t *testing.T) {
	both := home(t, config("work", akProfile("home"), akProfile("work")), someINI)
	onlyINI := home(t, "", someINI)
	empty := home(t, config("default", map[string]any{"name": "default", "mode": "", "region_id": "cn-x"}), "")
	elsewhere := filepath.Join(home(t, config("a", akProfile("a")), someINI), ".aliyun/config.json")
	token := writeFile(t, "a.b.c")
	oidc := map[string]string{"ALIBABA_CLOUD_ROLE_ARN": "acs:ram::1:role/r", "ALIBABA_CLOUD_OIDC_PROVIDER_ARN": "acs:ram::1:oidc-provider/p", "ALIBABA_CLOUD_OIDC_TOKEN_FILE": token}
	key := map[string]string{envKeyID: accessKey, envSecret: secretKey}
	type env = map[string]string
	for name, tt := range map[string]struct {
		env    []env
		o      CredentialOptions
		source string // part of the name
		region string
		err    error
	}{
		"key before all":       {[]env{key, oidc, {"HOME": both}}, CredentialOptions{}, "environment", "", nil},
		"OIDC before files":    {[]env{oidc, {"HOME": both}}, CredentialOptions{}, "OIDC role of the environment", "", nil},
		"no token file yet":    {[]env{oidc, {"ALIBABA_CLOUD_OIDC_TOKEN_FILE": "/nonexistent/token"}}, CredentialOptions{}, "OIDC role", "", nil},
		"OIDC in part":         {[]env{{"ALIBABA_CLOUD_ROLE_ARN": "acs:ram::1:role/r", "HOME": both}}, CredentialOptions{}, `profile "work"`, "cn-work", nil},
		"current profile":      {[]env{{"HOME": both}}, CredentialOptions{}, `profile "work" of "` + both + `/.aliyun/config.json"`, "cn-work", nil},
		"profile of env":       {[]env{{"HOME": both, "ALIBABA_CLOUD_PROFILE": "home"}}, CredentialOptions{}, `profile "home"`, "cn-home", nil},
		"in the ini only":      {[]env{{"HOME": both, "ALIBABA_CLOUD_PROFILE": "other"}}, CredentialOptions{}, `profile "other" of "` + both + `/.alibabacloud/credentials"`, "", nil},
		"in no file":           {[]env{{"HOME": both, "ALIBABA_CLOUD_PROFILE": "none"}}, CredentialOptions{}, "", "", ErrNoProfile},
		"ini":                  {[]env{{"HOME": onlyINI}}, CredentialOptions{}, `profile "default" of "` + onlyINI, "cn-ini", nil},
		"CLI disabled":         {[]env{{"HOME": both, "ALIBABA_CLOUD_CLI_PROFILE_DISABLED": "true"}}, CredentialOptions{}, "alibabacloud", "cn-ini", nil},
		"config of env":        {[]env{{"HOME": both, "ALIBABA_CLOUD_CONFIG_FILE": elsewhere}}, CredentialOptions{}, `profile "a"`, "cn-a", nil},
		"option over key":      {[]env{key, {"HOME": both}}, CredentialOptions{Profile: "home"}, `profile "home"`, "cn-home", nil},
		"option in the ini":    {[]env{key, {"HOME": both}}, CredentialOptions{Profile: "other"}, `profile "other"`, "", nil},
		"option in no file":    {[]env{key, {"HOME": both}}, CredentialOptions{Profile: "none"}, "", "", ErrNoProfile},
		"option without home":  {[]env{key}, CredentialOptions{Profile: "home"}, "", "", ErrNoProfile},
		"file":                 {[]env{key, {"HOME": both}}, CredentialOptions{File: elsewhere}, `profile "a"`, "cn-a", nil},
		"file and profile":     {nil, CredentialOptions{File: both + "/.aliyun/config.json", Profile: "home"}, `profile "home"`, "cn-home", nil},
		"file, other profile":  {nil, CredentialOptions{File: elsewhere, Profile: "home"}, "", "", ErrNoProfile},
		"file is an ini":       {nil, CredentialOptions{File: onlyINI + "/.alibabacloud/credentials", Profile: "other"}, `profile "other"`, "", nil},
		"file is missing":      {nil, CredentialOptions{File: "/nonexistent/x"}, "", "", os.ErrNotExist},
		"relative file":        {nil, CredentialOptions{File: "config.json"}, "", "", ErrBadSource},
		"role":                 {[]env{key, {"HOME": both}}, CredentialOptions{RAMRole: "web"}, `RAM role "web"`, "", nil},
		"role and profile":     {nil, CredentialOptions{RAMRole: "web", Profile: "home"}, "", "", ErrBadSource},
		"role and file":        {nil, CredentialOptions{RAMRole: "web", File: elsewhere}, "", "", ErrBadSource},
		"odd role":             {nil, CredentialOptions{RAMRole: "../../x"}, "", "", ErrBadSource},
		"role of env":          {[]env{{"ALIBABA_CLOUD_ECS_METADATA": "web", "ALIBABA_CLOUD_CREDENTIALS_URI": "https://x/"}}, CredentialOptions{}, `RAM role "web"`, "", nil},
		"URI":                  {[]env{{"ALIBABA_CLOUD_CREDENTIALS_URI": "http://127.0.0.1:7002/x"}}, CredentialOptions{}, "credentials URI", "", nil},
		"plain URI":            {[]env{{"ALIBABA_CLOUD_CREDENTIALS_URI": "http://10.0.0.1/x"}}, CredentialOptions{}, "", "", ErrBadSource},
		"metadata as URI":      {[]env{{"ALIBABA_CLOUD_CREDENTIALS_URI": "http://100.100.100.200/x"}}, CredentialOptions{}, "", "", ErrBadSource},
		"password in URI":      {[]env{{"ALIBABA_CLOUD_CREDENTIALS_URI": "https://u:canary@x/x"}}, CredentialOptions{}, "", "", ErrBadSource},
		"no URI":               {[]env{{"ALIBABA_CLOUD_CREDENTIALS_URI": "canary"}}, CredentialOptions{}, "", "", ErrBadSource},
		"nothing":              {nil, CredentialOptions{}, "the RAM role of this instance", "", nil},
		"an unused profile":    {[]env{{"HOME": empty}}, CredentialOptions{}, "the RAM role of this instance", "", nil},
		"half a key":           {[]env{{envKeyID: accessKey, "HOME": both}}, CredentialOptions{}, "", "", ErrHalfCredentials},
		"nothing, and no IMDS": {[]env{{"ALIBABA_CLOUD_ECS_METADATA_DISABLED": "True"}}, CredentialOptions{}, "", "", ErrNoCredentials},
		"role, and no IMDS":    {[]env{{"ALIBABA_CLOUD_ECS_METADATA_DISABLED": "true"}}, CredentialOptions{RAMRole: "web"}, "", "", ErrBadSource},
		"role of env, no IMDS": {[]env{{"ALIBABA_CLOUD_ECS_METADATA_DISABLED": "true", "ALIBABA_CLOUD_ECS_METADATA": "web"}}, CredentialOptions{}, "", "", ErrNoCredentials},
	} {
		all := env{}
		for _, e := range tt.env {
			for k, v := range e {
				all[k] = v
			}
		}
		// The library's builders look at the process's own variable, which
		// TestMain has set; nothing is asked here.
		t.Run(name, func(t *testing.T) {
			t.Setenv("ALIBABA_CLOUD_ECS_METADATA_DISABLED", "")
			tt.o.Getenv = environ(all)
			s, err := FindCredentials(tt.o)
			if tt.err != nil {
				clean(t, name, errors.New(strings.ReplaceAll(err.Error(), "canary.json", "")))
				if !errors.Is(err, tt.err) || !strings.HasPrefix(err.Error(), "read credentials: ") {
					t.Errorf("%v, want %v", err, tt.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if !strings.Contains(s.Name(), tt.source) {
				t.Errorf("%s, want %s", s.Name(), tt.source)
			}
			if region, ok := s.Region(); region != tt.region || ok != (tt.region != "") {
				t.Errorf("region %q, want %q", region, tt.region)
			}
			if len(s.Warnings()) != 0 {
				t.Errorf("warnings: %q", s.Warnings())
			}
		})
	}
}

// A profile file is read again when the service rejects what it held, and
// nothing that happens to it in the meantime stops what works.
func TestFileIsReadAgain(t *testing.T) {
	dir := home(t, config("a", akProfile("a")), "")
	path := filepath.Join(dir, ".aliyun/config.json")
	s, err := FindCredentials(CredentialOptions{File: path, Getenv: environ(nil)})
	if err != nil {
		t.Fatal(err)
	}
	first, err := s.lend(context.Background())
	if err != nil || first.AccessKeyID != "id-of-a" {
		t.Fatalf("%v", err)
	}
	for step, text := range []string{"{", config("a", akProfile("a"), akProfile("b"))} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		s.forced = time.Time{}
		now, err := s.renew(context.Background(), first)
		if step == 0 {
			clean(t, "half written", err)
		} else if err != nil || now != first {
			t.Errorf("%v", err)
		}
		if c, err := s.lend(context.Background()); err != nil || c != first {
			t.Errorf("the last good ones: %v", err)
		}
	}
	if err := os.WriteFile(path, []byte(config("b", akProfile("b"))), 0o600); err != nil {
		t.Fatal(err)
	}
	s.forced = time.Time{}
	if c, err := s.renew(context.Background(), first); err != nil || c.AccessKeyID != "id-of-b" {
		t.Errorf("rotated: %v", err)
	}
}

// Whose region counts, and that New needs no network to leave it open.
func TestRegionOfSource(t *testing.T) {
	dir := home(t, config("a", akProfile("a")), "")
	find := func(env map[string]string) *CredentialSource {
		t.Helper()
		s, err := FindCredentials(CredentialOptions{Getenv: environ(env)})
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	for name, tt := range map[string]struct {
		s      *CredentialSource
		region string
		want   string // endpoint
		err    error
	}{
		"given":          {find(map[string]string{"HOME": dir}), "cn-beijing", "kms.cn-beijing.aliyuncs.com", nil},
		"of the profile": {find(map[string]string{"HOME": dir}), "", "kms.cn-a.aliyuncs.com", nil},
		"later":          {find(map[string]string{envKeyID: accessKey, envSecret: secretKey}), "", "", nil},
		"none": {find(map[string]string{envKeyID: accessKey, envSecret: secretKey, "ALIBABA_CLOUD_ECS_METADATA_DISABLED": "true"}),
			"", "", ErrBadRegion},
	} {
		c, err := New(Config{Region: tt.region, Credentials: tt.s})
		if !errors.Is(err, tt.err) {
			t.Errorf("%s: %v", name, err)
		}
		if err != nil {
			continue
		}
		d := c.known.Load()
		if tt.want == "" && d != nil || tt.want != "" && (d == nil || d.endpoint != tt.want) {
			t.Errorf("%s: %v, want %q", name, d, tt.want)
		}
		c.Close()
	}
	odd := akProfile("a")
	odd["region_id"] = "evil.example/"
	_, err := FindCredentials(CredentialOptions{Getenv: environ(map[string]string{"HOME": home(t, config("a", odd), "")})})
	if !errors.Is(err, ErrBadProfile) {
		t.Errorf("odd region: %v", err)
	}
}
