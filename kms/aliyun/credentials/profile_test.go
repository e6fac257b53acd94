package credentials

import (
	"errors"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/kmsfs/kmsfs/fs/trusted"
	"github.com/kmsfs/kmsfs/kms/aliyun/cloudtest"
)

// Every mode, however it is written, is taken or refused for the right reason,
// without a byte over the network.
func TestModes(t *testing.T) {
	t.Setenv("ALIBABA_CLOUD_ECS_METADATA_DISABLED", "") // the library's builders look at it
	soon := time.Now().Add(time.Hour).Unix()
	type m = map[string]any
	key := m{"access_key_id": accessKey, "access_key_secret": secretKey}
	with := func(parts ...m) m {
		all := m{}
		for _, p := range parts {
			maps.Copy(all, p)
		}
		return all
	}
	for name, tt := range map[string]struct {
		p   m
		err error
	}{
		"AK":                 {with(key, m{"mode": "AK"}), nil},
		"case":               {with(key, m{"mode": "aK"}), nil},
		"AK without secret":  {m{"mode": "AK", "access_key_id": accessKey}, ErrHalf},
		"AK with a newline":  {m{"mode": "AK", "access_key_id": accessKey, "access_key_secret": secretKey + "\n"}, nil},
		"StsToken":           {with(key, m{"mode": "ststoken", "sts_token": token}), nil},
		"StsToken without":   {with(key, m{"mode": "StsToken"}), ErrHalf},
		"RamRoleArn":         {with(key, m{"mode": "RAMROLEARN", "ram_role_arn": "acs:ram::1:role/r"}), nil},
		"RamRoleArn without": {with(key, m{"mode": "RamRoleArn"}), ErrBadSource},
		"too short":          {with(key, m{"mode": "RamRoleArn", "ram_role_arn": "x", "expired_seconds": 60}), ErrBadSource},
		"hostile STS region": {with(key, m{"mode": "RamRoleArn", "ram_role_arn": "x", "sts_region": "evil.example/"}), ErrBadSource},
		"EcsRamRole":         {m{"mode": "EcsRamRole", "ram_role_name": "web"}, nil},
		"any EcsRamRole":     {m{"mode": "ecsramrole"}, nil},
		"hostile role":       {m{"mode": "EcsRamRole", "ram_role_name": "../x"}, ErrBadSource},
		"OIDC":               {m{"mode": "oidc", "ram_role_arn": "x", "oidc_provider_arn": "y", "oidc_token_file": writeFile(t, "a.b.c")}, nil},
		"OIDC without":       {m{"mode": "OIDC", "ram_role_arn": "x", "oidc_provider_arn": "y"}, ErrBadSource},
		"OIDC, unsafe token": {m{"mode": "OIDC", "ram_role_arn": "x", "oidc_provider_arn": "y", "oidc_token_file": unsafeFile(t)}, trusted.ErrUnsafe},
		"chain":              {m{"mode": "ChainableRamRoleArn", "ram_role_arn": "x", "source_profile": "base"}, nil},
		"chain to itself":    {m{"mode": "ChainableRamRoleArn", "ram_role_arn": "x", "source_profile": "p"}, ErrBadProfile},
		"chain in a circle":  {m{"mode": "ChainableRamRoleArn", "ram_role_arn": "x", "source_profile": "circle"}, ErrBadProfile},
		"chain to nowhere":   {m{"mode": "ChainableRamRoleArn", "ram_role_arn": "x", "source_profile": "nowhere"}, ErrNoProfile},
		"chain to a command": {m{"mode": "ChainableRamRoleArn", "ram_role_arn": "x", "source_profile": "command"}, ErrProcessRefused},
		"CredentialsURI":     {m{"mode": "credentialsuri", "credentials_uri": "http://localhost:7002/"}, nil},
		"plain URI":          {m{"mode": "CredentialsURI", "credentials_uri": "http://kms.example/canary"}, ErrBadSource},
		"no URI":             {m{"mode": "CredentialsURI"}, ErrBadSource},
		"CloudSSO":           {m{"mode": "CloudSSO", "cloud_sso_sign_in_url": "https://x/", "cloud_sso_account_id": "1", "cloud_sso_access_config": "c", "access_token": "t", "cloud_sso_access_token_expire": soon}, nil},
		"CloudSSO, ended":    {m{"mode": "CloudSSO", "cloud_sso_sign_in_url": "https://x/", "cloud_sso_account_id": "1", "cloud_sso_access_config": "c", "access_token": "t", "cloud_sso_access_token_expire": 1}, nil},
		"CloudSSO over http": {m{"mode": "CloudSSO", "cloud_sso_sign_in_url": "http://x/"}, ErrBadProfile},
		"OAuth":              {m{"mode": "OAuth", "oauth_site_type": "cn", "oauth_access_token": "t", "oauth_access_token_expire": soon}, nil},
		"OAuth, ended":       {m{"mode": "OAuth", "oauth_site_type": "INTL", "oauth_refresh_token": "canary"}, nil},
		"OAuth elsewhere":    {m{"mode": "OAuth", "oauth_site_type": "canary"}, ErrBadProfile},
		"External":           {m{"mode": "External", "process_command": "/bin/true"}, ErrProcessRefused},
		"RsaKeyPair":         {m{"mode": "RsaKeyPair"}, ErrUnsupportedMode},
		"BearerToken":        {m{"mode": "BearerToken"}, ErrUnsupportedMode},
		"unused":             {m{"mode": "", "access_key_id": ""}, errEmptyProfile},
		"a key without mode": {key, ErrUnsupportedMode},
	} {
		tt.p["name"] = "p"
		base := with(key, m{"mode": "AK", "name": "base"})
		circle := m{"name": "circle", "mode": "ChainableRamRoleArn", "ram_role_arn": "x", "source_profile": "p"}
		command := m{"name": "command", "mode": "External", "process_command": "/bin/true"}
		dir := home(t, config("p", base, circle, command, tt.p), "")
		path := filepath.Join(dir, ".aliyun/config.json")
		before, _ := os.ReadFile(path)
		s, err := Find(Options{File: path, Getenv: environ(map[string]string{"HOME": dir})})
		switch {
		case name == "AK with a newline":
			if err == nil || !strings.Contains(err.Error(), "access_key_secret holds white space") {
				t.Errorf("%s: %v", name, err)
			}
		case !errors.Is(err, tt.err) || tt.err == nil && err != nil:
			t.Errorf("%s: %v, want %v", name, err, tt.err)
		}
		if err != nil {
			cloudtest.Clean(t, name, err)
		}
		if strings.HasSuffix(name, ", ended") && err == nil {
			_, err := s.Retrieve(t.Context())
			cloudtest.Clean(t, name, err)
			if !strings.Contains(err.Error(), "sign in again") {
				t.Errorf("%s: %v", name, err)
			}
		}
		if after, _ := os.ReadFile(path); string(after) != string(before) {
			t.Errorf("%s: the file was changed", name)
		}
	}
}

func unsafeFile(t *testing.T) string {
	t.Helper()
	path := writeFile(t, "a.b.c")
	if err := os.Chmod(path, 0o666); err != nil {
		t.Fatal(err)
	}
	return path
}

// Nothing of a file's content shows in what is said of it.
func TestParseErrorsShowNothing(t *testing.T) {
	for name, text := range map[string]string{
		"cut":          `{"current":"canary","profiles":[{"name":"canary","access_key_secret":"` + secretKey,
		"wrong type":   `{"current":"a","profiles":[{"name":"a","access_key_secret":["` + secretKey + `"]}]}`,
		"wrong type 2": `{"current":"a","profiles":"` + secretKey + `"}`,
		"trailing":     config("a", akProfile("a")) + secretKey,
		"control":      "{\x00" + secretKey,
		"no profiles":  `{"current":"a"}`,
		"empty":        "",
		"secret alone": secretKey,
		"odd ini":      "[default\naccess_key_secret = " + secretKey,
		"no key":       "[default]\n" + secretKey + "\n",
		"ini, no type": "[default]\naccess_key_id = " + accessKey + "\naccess_key_secret = " + secretKey,
		"ini, type":    "[default]\ntype = rsa_key_pair\nprivate_key_file = /canary\n",
		"ini, half":    "[default]\ntype = access_key\naccess_key_secret = " + secretKey,
		"binary":       "\x7fELF\x02\x01\x01" + secretKey,
	} {
		path := filepath.Join(t.TempDir(), "profiles")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := Find(Options{File: path, Getenv: environ(nil)})
		cloudtest.Clean(t, name, err)
		if err == nil || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: %v does not name the file", name, err)
		}
	}
	_, err := parseConfiguration([]byte("{\n\n\"a\": }"))
	if err == nil || !strings.Contains(err.Error(), "line 3") {
		t.Errorf("%v", err)
	}
}

// A byte order mark or white space in front of the brace is still JSON.
func TestToldApartByBrace(t *testing.T) {
	for name, front := range map[string]string{"nothing": "", "space": " \r\n\t", "mark": "\ufeff", "both": "\ufeff\n"} {
		path := filepath.Join(t.TempDir(), "x")
		if err := os.WriteFile(path, []byte(front+config("a", akProfile("a"))), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Find(Options{File: path, Getenv: environ(nil)}); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func FuzzProfiles(f *testing.F) {
	f.Add(config("a", akProfile("a")))
	f.Add(someINI)
	f.Fuzz(func(t *testing.T, text string) {
		find := finder{Options{Getenv: environ(nil)}}
		for _, read := range []func([]byte, string) (readable, error){find.fromJSON, find.fromINI} {
			if r, err := read([]byte(text), "default"); err == nil {
				r.build()
			}
		}
	})
}

func TestSplitCommand(t *testing.T) {
	for command, want := range map[string][]string{
		"/a b  c":             {"/a", "b", "c"},
		" /a\t'b c' \"d e\" ": {"/a", "b c", "d e"},
		`/a "" ''`:            {"/a", "", ""},
		`/a b\ c "\"\\\x"`:    {"/a", "b c", `"\\x`},
		`/a '\'`:              {"/a", `\`},
		`/a x"y z"'$HOME;'`:   {"/a", "xy z$HOME;"},
		"":                    nil,
		"  ":                  nil,
		`/a "b`:               nil,
		`/a 'b`:               nil,
		`/a \`:                nil,
		`"" b`:                nil,
	} {
		got, err := splitCommand(command)
		if (err == nil) != (want != nil) || !slices.Equal(got, want) {
			t.Errorf("%q: %q, %v", command, got, err)
		}
	}
}

// A profile file that others can read is used and warned of, once; one that
// others can write is refused.
func TestProfileFileModes(t *testing.T) {
	dir := home(t, config("a", akProfile("a")), "")
	path := filepath.Join(dir, ".aliyun/config.json")
	for mode, tt := range map[fs.FileMode]struct {
		warns int
		err   error
	}{0o600: {0, nil}, 0o400: {0, nil}, 0o640: {1, nil}, 0o604: {1, nil}, 0o644: {1, nil}, 0o666: {0, trusted.ErrUnsafe}, 0o660: {0, trusted.ErrUnsafe}} {
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		s, err := Find(Options{Getenv: environ(map[string]string{"HOME": dir})})
		if !errors.Is(err, tt.err) {
			t.Errorf("%04o: %v", mode, err)
		}
		if err != nil {
			cloudtest.Clean(t, "unsafe", err)
			continue
		}
		if len(s.Warnings()) != tt.warns {
			t.Errorf("%04o: warnings %q", mode, s.Warnings())
		}
		s, err = Find(Options{File: path, Getenv: environ(map[string]string{"CREDENTIALS_DIRECTORY": filepath.Dir(path)})})
		if err != nil || len(s.Warnings()) != 0 {
			t.Errorf("%04o, handed over by systemd: %v", mode, err)
		}
	}
}
