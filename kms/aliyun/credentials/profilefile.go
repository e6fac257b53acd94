package credentials

import (
	"bytes"
	"cmp"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"

	"gopkg.in/ini.v1"

	"github.com/kmsfs/kmsfs/fs/trusted"
	"github.com/kmsfs/kmsfs/kms/aliyun/scrub"
)

// profileFile makes a link of a profile in a file, which is a config.json if
// its first character is a brace, else an ini file. An empty name is the file's
// own choice: its "current" profile, or the section "default".
func (f finder) profileFile(path, name string) (link, error) {
	p, file, err := f.readProfile(path, name)
	if err != nil {
		return link{}, err
	}
	l := link{
		name:   fmt.Sprintf("profile %q of %s", p.Name, strconv.Quote(path)),
		region: p.Region,
		build: func() (libraryProvider, error) {
			now, _, err := f.readProfile(path, name)
			if err != nil {
				return nil, err
			}
			return now.build()
		},
	}
	if p.Region != "" && !scrub.RegionForm.MatchString(p.Region) {
		return link{}, fmt.Errorf("%s: %w: region_id is not a region id", l.name, ErrBadProfile)
	}
	if _, err := p.build(); err != nil {
		return link{}, fmt.Errorf("%s: %w", l.name, err)
	}
	if file.Mode.Perm()&0o044 != 0 && !f.fromSystemd(file.Path) {
		l.warnings = []string{fmt.Sprintf("%s can be read by others (mode %04o); it should have mode 0600",
			strconv.Quote(path), file.Mode.Perm())}
	}
	return l, nil
}

// fromSystemd: the files of LoadCredential= have an access list, which looks
// like a group's right to read.
func (f finder) fromSystemd(path string) bool {
	dir := f.Getenv("CREDENTIALS_DIRECTORY")
	return filepath.IsAbs(dir) && strings.HasPrefix(path, filepath.Clean(dir)+"/")
}

// readable is a profile as it was found.
type readable struct {
	Name, Region string
	build        func() (libraryProvider, error)
}

func (f finder) readProfile(path, name string) (readable, trusted.File, error) {
	file, err := trusted.Read(path)
	if err != nil {
		return readable{}, file, err
	}
	defer clear(file.Content)
	var r readable
	const blank = " \t\r\n"
	text := bytes.TrimPrefix(bytes.TrimLeft(file.Content, blank), []byte("\ufeff"))
	if bytes.HasPrefix(bytes.TrimLeft(text, blank), []byte("{")) {
		r, err = f.fromJSON(text, name)
	} else {
		r, err = f.fromINI(file.Content, cmp.Or(name, "default"))
	}
	if err != nil {
		err = fmt.Errorf("%s: %w", strconv.Quote(path), err)
	}
	return r, file, err
}

func (f finder) fromJSON(content []byte, name string) (readable, error) {
	c, err := parseConfiguration(content)
	if err != nil {
		return readable{}, err
	}
	p, err := c.find(cmp.Or(name, c.Current))
	if err != nil {
		return readable{}, err
	}
	return readable{p.Name, p.Region, func() (libraryProvider, error) { return f.provide(c, p) }}, nil
}

// fromINI reads what Alibaba's libraries keep in ~/.alibabacloud/credentials,
// with the parser that they use.
func (f finder) fromINI(content []byte, name string) (readable, error) {
	file, err := ini.Load(content)
	if err != nil {
		return readable{}, fmt.Errorf("%w: the file is neither JSON nor valid ini", ErrBadProfile)
	}
	if !file.HasSection(name) {
		return readable{}, fmt.Errorf("%w: %q", ErrNoProfile, name)
	}
	section := file.Section(name)
	get := func(key string) string {
		if !section.HasKey(key) {
			return "" // Key would make it
		}
		return section.Key(key).Value() // not String, which expands %(names)s
	}
	p := profile{
		Name: name, Region: get("region_id"),
		AccessKeyID: get("access_key_id"), AccessKeySecret: get("access_key_secret"), SecurityToken: get("security_token"),
		RoleARN: get("role_arn"), SessionName: get("role_session_name"), Policy: get("policy"),
		RoleName: get("role_name"), OIDCProviderARN: get("oidc_provider_arn"), OIDCTokenFile: get("oidc_token_file_path"),
	}
	modes := map[string]string{
		"access_key": "AK", "sts": "StsToken", "ecs_ram_role": "EcsRamRole", "ram_role_arn": "RamRoleArn", "oidc_role_arn": "OIDC",
	}
	kind := get("type")
	if kind == "" && len(section.Keys()) > 0 {
		return readable{}, fmt.Errorf("profile %q: %w: type is not set", name, ErrBadProfile)
	}
	if p.Mode = modes[strings.ToLower(kind)]; p.Mode == "" {
		p.Mode = kind // refused there
	}
	return readable{name, p.Region, func() (libraryProvider, error) { return f.provide(configuration{}, p) }}, nil
}
