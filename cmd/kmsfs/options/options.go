// Package options is one table that is the flags, the keys of -o and the manual,
// and the settings that come of it as typed values.
package options

import (
	"fmt"
	"math"
	"os"
	"os/user"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"github.com/kmsfs/kmsfs/cmd/kmsfs/ui"
	"github.com/kmsfs/kmsfs/kms"
	"github.com/kmsfs/kmsfs/kms/aliyun"
)

// Row is one option. A value is checked where it is read.
type Row struct {
	Key     string // as in -o; the flag has dashes instead of underscores
	Value   string // placeholder in the help; empty: a switch
	Default string // as the user would write it; empty: the zero value
	Help    string
	verb    bool // also a flag of the verbs that only speak to the service
	set     func(*Settings, string) error
}

// Table has the options in the order in which they are listed.
var Table = []Row{
	{"region", "REGION", "", "region of the keys (else ALIBABA_CLOUD_REGION_ID)", true,
		text(func(s *Settings) *string { return &s.Region })},
	{"endpoint", "HOST[:PORT]", "", "address of the service, if not the region's public one", true,
		text(func(s *Settings) *string { return &s.Endpoint })},
	{"ca_file", "PEM", "", "trust only the certificates in this file", true, text(func(s *Settings) *string { return &s.CAFile })},
	{"vpc", "", "", "use the region's VPC endpoint", true, boolean(func(s *Settings) *bool { return &s.VPC })},
	{"allow_emulator", "", "", "accept the certificate of the KMS emulator", false,
		boolean(func(s *Settings) *bool { return &s.AllowEmulator })},
	{"profile", "NAME", "", "profile of the credentials file", true, text(func(s *Settings) *string { return &s.Profile })},
	{"credentials_file", "FILE", "", "absolute path of a config.json or an ini file with credentials", true,
		text(func(s *Settings) *string { return &s.Credentials.File })},
	{"ram_role", "NAME", "", "use the RAM role of this ECS instance", true, text(func(s *Settings) *string { return &s.RAMRole })},
	{"credential_process", "allow|refuse", "refuse", "whether a profile may run a command for credentials", true,
		choice("allow", "refuse", func(s *Settings) *bool { return &s.AllowProcess })},
	{"keys", "KEY[;KEY]", "", "serve only what these keys encrypted: ids, ARNs or aliases", false, keyList},
	{"encryption_context", "NAME=VALUE[;…]", "", "encryption context of all files", true, encryptionContext},
	{"bind", "name|nothing", "nothing", "add each file's name to its encryption context", true,
		choice("name", "nothing", func(s *Settings) *bool { return &s.BindNames })},
	{"encoding", "raw|base64|auto", "raw", "what is encrypted: the secret as it is, base64 of it, or base64 where that is a PEM's", true,
		encoding},
	{"qps", "N", "50", "calls per second to the service, at most", false, perSecond},
	{"timeout", "DURATION", "10s", "how long an open may take", true,
		duration(time.Second, 5*time.Minute, func(s *Settings) *time.Duration { return &s.Timeout })},
	{"ttl", "DURATION", "60s", "how long a plaintext is kept after it was asked for", false,
		duration(time.Second, 24*time.Hour, func(s *Settings) *time.Duration { return &s.TTL })},
	{"refresh", "DURATION", "15s", "decrypt files in use anew so long before their ttl ends; 0: never", false,
		duration(0, 24*time.Hour, func(s *Settings) *time.Duration { return &s.Refresh })},
	{"stale", "DURATION", "0s", "how long past its ttl a plaintext may serve while KMS gives no answer", false,
		duration(0, 24*time.Hour, func(s *Settings) *time.Duration { return &s.Stale })},
	{"cache_size", "SIZE", "64MiB", "how much plaintext is kept", false,
		size(64<<10, 16<<30, func(s *Settings) *int64 { return &s.CacheSize })},
	{"require_mlock", "", "", "refuse to start when memory cannot be locked", false,
		boolean(func(s *Settings) *bool { return &s.RequireMlock })},
	{"file_mode", "MODE", "0400", "permissions of files", false, mode(func(s *Settings) *uint32 { return &s.FileMode })},
	{"dir_mode", "MODE", "0500", "permissions of directories", false, mode(func(s *Settings) *uint32 { return &s.DirMode })},
	{"uid", "USER", strconv.Itoa(os.Geteuid()), "owner of everything, by name or number", false,
		owner("user", userNumber, func(s *Settings) *uint32 { return &s.UID })},
	{"gid", "GROUP", strconv.Itoa(os.Getegid()), "group of everything, by name or number", false,
		owner("group", groupNumber, func(s *Settings) *uint32 { return &s.GID })},
	{"allow_other", "", "", "let other users in, as far as the permissions do", false,
		boolean(func(s *Settings) *bool { return &s.AllowOther })},
	{"shared", "", "", "share the mount with later mount namespaces (else it is private)", false,
		boolean(func(s *Settings) *bool { return &s.Shared })},
	{"nonempty", "", "", "mount over a directory that is not empty", false, boolean(func(s *Settings) *bool { return &s.Nonempty })},
	{"plain", "show|hide", "hide", "files without the suffix .cipher", false,
		choice("show", "hide", func(s *Settings) *bool { return &s.Plain })},
	{"open", "checked|fast", "checked", "checked: every open is checked and logged; fast: the kernel caches", false,
		choice("fast", "checked", func(s *Settings) *bool { return &s.Fast })},
	{"log_file", "FILE", "", "append the log to a file (else stderr in the foreground, syslog in the background)", false,
		text(func(s *Settings) *string { return &s.LogFile })},
}

// standard options of mount(8) and libfuse that say what kmsfs does anyway, or
// nothing to it. The opposite of what it insists on (rw, suid, dev, exec) is
// accepted because "defaults" expands to it, and overridden.
var standard = []string{
	"ro", "rw", "nosuid", "suid", "nodev", "dev", "noexec", "exec", "noatime", "relatime", "nodiratime", "async", "private",
	"default_permissions", "defaults", "auto", "noauto", "_netdev", "nofail", "user", "nouser", "users", "owner", "group",
}

// Defaults returns settings as if no option had been given.
func Defaults() (*Settings, error) {
	s := &Settings{}
	for _, o := range Table {
		if o.Default == "" {
			continue
		}
		if err := o.set(s, o.Default); err != nil {
			return nil, fmt.Errorf("default of %s: %w", o.Key, err)
		}
	}
	return s, nil
}

// SetList applies one -o argument: key[=value] separated by commas.
func (s *Settings) SetList(list string) error {
	for item := range strings.SplitSeq(list, ",") {
		key, value, valued := strings.Cut(item, "=")
		if key == "" && !valued || slices.Contains(standard, item) || strings.HasPrefix(item, "x-") || key == "user" {
			continue
		}
		if item == "direct_io" { // what open=checked does anyway
			s.DirectIO = true
			continue
		}
		if item == "remount" {
			return ui.Failf("remount: a mount of kmsfs cannot be changed").Hint("unmount it, then mount it with the new options")
		}
		i := slices.IndexFunc(Table, func(o Row) bool { return o.Key == key })
		if i < 0 && s.Sloppy {
			continue
		}
		if i < 0 {
			return ui.Usagef("read option %s: unknown", ui.Quote(key)).Hint("kmsfs mount --help lists the options")
		}
		o := Table[i]
		if !valued {
			if o.Value != "" {
				return ui.Usagef("read option %s: no value", key).Hint("write %s=%s", key, o.Value)
			}
			value = "true"
		}
		if err := o.apply(s, value); err != nil {
			return err
		}
	}
	return nil
}

func (o Row) apply(s *Settings, value string) error {
	if strings.ContainsFunc(value, func(r rune) bool { return r < 0x20 || r == 0x7f }) {
		return ui.Usagef("read option %s: control character in the value", o.Key)
	}
	if err := o.set(s, value); err != nil {
		return ui.Usagef("read option %s: %w", o.Key, err)
	}
	return nil
}

// AddFlags gives a command its part of the table, in the table's order: all
// of it to mount, and to a verb that has use for them the keys in more.
func (s *Settings) AddFlags(flags *pflag.FlagSet, mount bool, more ...string) {
	flags.SortFlags = false
	if mount {
		flags.VarP(optionList{s}, "options", "o", "the options below as key=value, separated by commas, dashes as underscores")
	}
	for _, o := range Table {
		if !mount && !o.verb && !slices.Contains(more, o.Key) {
			continue
		}
		help := o.Help
		if o.Default != "" {
			help += " (default " + o.Default + ")"
		}
		f := flags.VarPF(optionFlag{o, s}, strings.ReplaceAll(o.Key, "_", "-"), "", help)
		if o.Value == "" {
			f.NoOptDefVal = "true"
		}
	}
	if !mount {
		flags.BoolVarP(&s.Verbose, "verbose", "v", false,
			"warn of an unusual endpoint, ca_file or proxy, and of a credentials file that others can read")
	}
}

// optionFlag is a row of the table as a flag.
type optionFlag struct {
	Row
	s *Settings
}

func (f optionFlag) Set(v string) error { return f.apply(f.s, v) }
func (f optionFlag) String() string     { return "" } // the default stands in the help

func (f optionFlag) Type() string {
	if f.Value == "" {
		return "bool" // pflag then shows no placeholder
	}
	return f.Value
}

// optionList is -o.
type optionList struct{ s *Settings }

func (l optionList) Set(v string) error { return l.s.SetList(v) }
func (l optionList) String() string     { return "" }
func (l optionList) Type() string       { return "KEY=VALUE,…" }

func text(field func(*Settings) *string) func(*Settings, string) error {
	return func(s *Settings, v string) error {
		if v == "" {
			return fmt.Errorf("empty")
		}
		*field(s) = v
		return nil
	}
}

func boolean(field func(*Settings) *bool) func(*Settings, string) error {
	return func(s *Settings, v string) error {
		b, err := strconv.ParseBool(v)
		if err != nil {
			return fmt.Errorf("%s is not true or false", ui.Quote(v))
		}
		*field(s) = b
		return nil
	}
}

func duration(least, most time.Duration, field func(*Settings) *time.Duration) func(*Settings, string) error {
	return func(s *Settings, v string) error {
		d, err := time.ParseDuration(v)
		if err != nil {
			return fmt.Errorf("%s is not a duration like 90s or 5m", ui.Quote(v))
		}
		if d < least || d > most {
			return fmt.Errorf("%s is not between %v and %v", v, least, most)
		}
		*field(s) = d
		return nil
	}
}

func size(least, most int64, field func(*Settings) *int64) func(*Settings, string) error {
	units := map[string]int64{"": 1, "B": 1, "K": 1 << 10, "KiB": 1 << 10, "M": 1 << 20, "MiB": 1 << 20, "G": 1 << 30, "GiB": 1 << 30}
	return func(s *Settings, v string) error {
		digits := strings.TrimRight(v, "BKMGi")
		unit, known := units[v[len(digits):]]
		n, err := strconv.ParseInt(digits, 10, 64)
		if err != nil || !known || n < 0 || n > math.MaxInt64/unit {
			return fmt.Errorf("%s is not a size like 64MiB", ui.Quote(v))
		}
		if n *= unit; n < least || n > most {
			return fmt.Errorf("%s is not between %d and %d bytes", v, least, most)
		}
		*field(s) = n
		return nil
	}
}

func mode(field func(*Settings) *uint32) func(*Settings, string) error {
	return func(s *Settings, v string) error {
		m, err := strconv.ParseUint(v, 8, 32)
		if err != nil || m > 0o777 {
			return fmt.Errorf("%s is not an octal mode like 0440", ui.Quote(v))
		}
		*field(s) = uint32(m)
		return nil
	}
}

func owner(what string, number func(name string) (string, error), field func(*Settings) *uint32) func(*Settings, string) error {
	return func(s *Settings, v string) error {
		digits := v
		if strings.Trim(v, "0123456789") != "" {
			digits, _ = number(v)
		}
		n, err := strconv.ParseUint(digits, 10, 32)
		if err != nil || n == math.MaxUint32 {
			return fmt.Errorf("%s is neither a number nor a %s of this machine", ui.Quote(v), what)
		}
		*field(s) = uint32(n)
		return nil
	}
}

// ParseUser reads a user by name or number, as the option uid does.
func ParseUser(v string) (uid uint32, err error) {
	err = owner("user", userNumber, func(*Settings) *uint32 { return &uid })(nil, v)
	return uid, err
}

func userNumber(name string) (string, error) {
	u, err := user.Lookup(name)
	if err != nil {
		return "", err
	}
	return u.Uid, nil
}

func groupNumber(name string) (string, error) {
	g, err := user.LookupGroup(name)
	if err != nil {
		return "", err
	}
	return g.Gid, nil
}

func choice(yes, no string, field func(*Settings) *bool) func(*Settings, string) error {
	return func(s *Settings, v string) error {
		if v != yes && v != no {
			return fmt.Errorf("%s is neither %s nor %s", ui.Quote(v), yes, no)
		}
		*field(s) = v == yes
		return nil
	}
}

func keyList(s *Settings, v string) error {
	keys := strings.Split(v, ";")
	if _, _, err := aliyun.ParseKeys(keys); err != nil {
		return err
	}
	s.Keys = keys
	return nil
}

func encryptionContext(s *Settings, v string) (err error) {
	s.Context, err = kms.ParseContext(v)
	return err
}

func encoding(s *Settings, v string) (err error) {
	s.Encoding, err = kms.ParseEncoding(v)
	return err
}

func perSecond(s *Settings, v string) error {
	n, err := strconv.Atoi(v)
	if err != nil || n < 1 || n > 1000 {
		return fmt.Errorf("%s is not between 1 and 1000, which is what an account has", ui.Quote(v))
	}
	s.QPS = n
	return nil
}
