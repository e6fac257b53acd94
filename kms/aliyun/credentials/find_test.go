package credentials

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/kmsfs/kmsfs/kms/aliyun/cloudtest"
)

const (
	accessKey  = cloudtest.AccessKey
	secretKey  = cloudtest.SecretKey
	token      = cloudtest.Token
	requestID1 = cloudtest.RequestID
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
	return cloudtest.JSON(map[string]any{"current": current, "profiles": profiles})
}

func writeFile(t testing.TB, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
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
	jwt := writeFile(t, "a.b.c")
	oidc := map[string]string{"ALIBABA_CLOUD_ROLE_ARN": "acs:ram::1:role/r", "ALIBABA_CLOUD_OIDC_PROVIDER_ARN": "acs:ram::1:oidc-provider/p", "ALIBABA_CLOUD_OIDC_TOKEN_FILE": jwt}
	key := map[string]string{envKeyID: accessKey, envSecret: secretKey}
	type env = map[string]string
	for name, tt := range map[string]struct {
		env    []env
		o      Options
		source string // part of the name
		region string
		err    error
	}{
		"key before all":       {[]env{key, oidc, {"HOME": both}}, Options{}, "environment", "", nil},
		"OIDC before files":    {[]env{oidc, {"HOME": both}}, Options{}, "OIDC role of the environment", "", nil},
		"no token file yet":    {[]env{oidc, {"ALIBABA_CLOUD_OIDC_TOKEN_FILE": "/nonexistent/token"}}, Options{}, "OIDC role", "", nil},
		"OIDC in part":         {[]env{{"ALIBABA_CLOUD_ROLE_ARN": "acs:ram::1:role/r", "HOME": both}}, Options{}, `profile "work"`, "cn-work", nil},
		"current profile":      {[]env{{"HOME": both}}, Options{}, `profile "work" of "` + both + `/.aliyun/config.json"`, "cn-work", nil},
		"profile of env":       {[]env{{"HOME": both, "ALIBABA_CLOUD_PROFILE": "home"}}, Options{}, `profile "home"`, "cn-home", nil},
		"in the ini only":      {[]env{{"HOME": both, "ALIBABA_CLOUD_PROFILE": "other"}}, Options{}, `profile "other" of "` + both + `/.alibabacloud/credentials"`, "", nil},
		"in no file":           {[]env{{"HOME": both, "ALIBABA_CLOUD_PROFILE": "none"}}, Options{}, "", "", ErrNoProfile},
		"ini":                  {[]env{{"HOME": onlyINI}}, Options{}, `profile "default" of "` + onlyINI, "cn-ini", nil},
		"CLI disabled":         {[]env{{"HOME": both, "ALIBABA_CLOUD_CLI_PROFILE_DISABLED": "true"}}, Options{}, "alibabacloud", "cn-ini", nil},
		"config of env":        {[]env{{"HOME": both, "ALIBABA_CLOUD_CONFIG_FILE": elsewhere}}, Options{}, `profile "a"`, "cn-a", nil},
		"option over key":      {[]env{key, {"HOME": both}}, Options{Profile: "home"}, `profile "home"`, "cn-home", nil},
		"option in the ini":    {[]env{key, {"HOME": both}}, Options{Profile: "other"}, `profile "other"`, "", nil},
		"option in no file":    {[]env{key, {"HOME": both}}, Options{Profile: "none"}, "", "", ErrNoProfile},
		"option without home":  {[]env{key}, Options{Profile: "home"}, "", "", ErrNoProfile},
		"file":                 {[]env{key, {"HOME": both}}, Options{File: elsewhere}, `profile "a"`, "cn-a", nil},
		"file and profile":     {nil, Options{File: both + "/.aliyun/config.json", Profile: "home"}, `profile "home"`, "cn-home", nil},
		"file, other profile":  {nil, Options{File: elsewhere, Profile: "home"}, "", "", ErrNoProfile},
		"file is an ini":       {nil, Options{File: onlyINI + "/.alibabacloud/credentials", Profile: "other"}, `profile "other"`, "", nil},
		"file is missing":      {nil, Options{File: "/nonexistent/x"}, "", "", os.ErrNotExist},
		"relative file":        {nil, Options{File: "config.json"}, "", "", ErrBadSource},
		"role":                 {[]env{key, {"HOME": both}}, Options{RAMRole: "web"}, `RAM role "web"`, "", nil},
		"role and profile":     {nil, Options{RAMRole: "web", Profile: "home"}, "", "", ErrBadSource},
		"role and file":        {nil, Options{RAMRole: "web", File: elsewhere}, "", "", ErrBadSource},
		"odd role":             {nil, Options{RAMRole: "../../x"}, "", "", ErrBadSource},
		"role of env":          {[]env{{"ALIBABA_CLOUD_ECS_METADATA": "web", "ALIBABA_CLOUD_CREDENTIALS_URI": "https://x/"}}, Options{}, `RAM role "web"`, "", nil},
		"URI":                  {[]env{{"ALIBABA_CLOUD_CREDENTIALS_URI": "http://127.0.0.1:7002/x"}}, Options{}, "credentials URI", "", nil},
		"plain URI":            {[]env{{"ALIBABA_CLOUD_CREDENTIALS_URI": "http://10.0.0.1/x"}}, Options{}, "", "", ErrBadSource},
		"metadata as URI":      {[]env{{"ALIBABA_CLOUD_CREDENTIALS_URI": "http://100.100.100.200/x"}}, Options{}, "", "", ErrBadSource},
		"password in URI":      {[]env{{"ALIBABA_CLOUD_CREDENTIALS_URI": "https://u:canary@x/x"}}, Options{}, "", "", ErrBadSource},
		"no URI":               {[]env{{"ALIBABA_CLOUD_CREDENTIALS_URI": "canary"}}, Options{}, "", "", ErrBadSource},
		"nothing":              {nil, Options{}, "the RAM role of this instance", "", nil},
		"an unused profile":    {[]env{{"HOME": empty}}, Options{}, "the RAM role of this instance", "", nil},
		"half a key":           {[]env{{envKeyID: accessKey, "HOME": both}}, Options{}, "", "", ErrHalf},
		"nothing, and no IMDS": {[]env{{"ALIBABA_CLOUD_ECS_METADATA_DISABLED": "True"}}, Options{}, "", "", ErrNone},
		"role, and no IMDS":    {[]env{{"ALIBABA_CLOUD_ECS_METADATA_DISABLED": "true"}}, Options{RAMRole: "web"}, "", "", ErrBadSource},
		"role of env, no IMDS": {[]env{{"ALIBABA_CLOUD_ECS_METADATA_DISABLED": "true", "ALIBABA_CLOUD_ECS_METADATA": "web"}}, Options{}, "", "", ErrNone},
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
			s, err := Find(tt.o)
			if tt.err != nil {
				cloudtest.Clean(t, name, errors.New(strings.ReplaceAll(err.Error(), "canary.json", "")))
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
	s, err := Find(Options{File: path, Getenv: environ(nil)})
	if err != nil {
		t.Fatal(err)
	}
	first, err := s.Retrieve(context.Background())
	if err != nil || first.AccessKeyID != "id-of-a" {
		t.Fatalf("%v", err)
	}
	for step, text := range []string{"{", config("a", akProfile("a"), akProfile("b"))} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		s.forced = time.Time{}
		now, err := s.Renew(context.Background(), first)
		if step == 0 {
			cloudtest.Clean(t, "half written", err)
		} else if err != nil || now != first {
			t.Errorf("%v", err)
		}
		if c, err := s.Retrieve(context.Background()); err != nil || c != first {
			t.Errorf("the last good ones: %v", err)
		}
	}
	if err := os.WriteFile(path, []byte(config("b", akProfile("b"))), 0o600); err != nil {
		t.Fatal(err)
	}
	s.forced = time.Time{}
	if c, err := s.Renew(context.Background(), first); err != nil || c.AccessKeyID != "id-of-b" {
		t.Errorf("rotated: %v", err)
	}
}

// A profile's region cannot lead elsewhere.
func TestOddRegion(t *testing.T) {
	odd := akProfile("a")
	odd["region_id"] = "evil.example/"
	_, err := Find(Options{Getenv: environ(map[string]string{"HOME": home(t, config("a", odd), "")})})
	if !errors.Is(err, ErrBadProfile) {
		t.Errorf("odd region: %v", err)
	}
}
