package main

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
)

// option is one row of the table that is the flags, the -o keys and the
// manual. A value is checked where it is read.
type option struct {
	key   string // as in -o; the flag has dashes instead of underscores
	value string // placeholder in the help; empty: a switch
	deflt string // as the user would write it; empty: the zero value
	help  string
	verb  bool // also a flag of the verbs that only speak to the service
	set   func(*settings, string) error
}

var options = []option{
	{"region", "REGION", "", "region of the keys (else ALIBABA_CLOUD_REGION_ID)", true, text(func(s *settings) *string { return &s.region })},
	{"endpoint", "HOST[:PORT]", "", "address of the service, if not the region's public one", true, text(func(s *settings) *string { return &s.endpoint })},
	{"ca_file", "PEM", "", "trust only the certificates in this file", true, text(func(s *settings) *string { return &s.caFile })},
	{"vpc", "", "", "use the region's VPC endpoint", true, boolean(func(s *settings) *bool { return &s.vpc })},
	{"allow_emulator", "", "", "accept the certificate of the KMS emulator", false, boolean(func(s *settings) *bool { return &s.allowEmulator })},
	{"profile", "NAME", "", "profile of the credentials file", true, text(func(s *settings) *string { return &s.profile })},
	{"credentials_file", "FILE", "", "absolute path of a config.json or an ini file with credentials", true, text(func(s *settings) *string { return &s.credentials.file })},
	{"ram_role", "NAME", "", "use the RAM role of this ECS instance", true, text(func(s *settings) *string { return &s.ramRole })},
	{"credential_process", "allow|refuse", "refuse", "whether a profile may run a command for credentials", true, choice("allow", "refuse", func(s *settings) *bool { return &s.allowProcess })},
	{"keys", "KEY[;KEY]", "", "serve only what these keys encrypted: ids, ARNs or aliases", false, keyList},
	{"encryption_context", "NAME=VALUE[;…]", "", "encryption context of all files", true, encryptionContext},
	{"bind", "name|nothing", "nothing", "add each file's name to its encryption context", true, choice("name", "nothing", func(s *settings) *bool { return &s.bind })},
	{"encoding", "raw|base64|auto", "raw", "what is encrypted: the secret as it is, base64 of it, or base64 where that is a PEM's", true, encoding},
	{"qps", "N", "50", "calls per second to the service, at most", false, perSecond},
	{"timeout", "DURATION", "10s", "how long an open may take", true, duration(time.Second, 5*time.Minute, func(s *settings) *time.Duration { return &s.timeout })},
	{"ttl", "DURATION", "60s", "how long a plaintext is kept after it was asked for", false, duration(time.Second, 24*time.Hour, func(s *settings) *time.Duration { return &s.ttl })},
	{"refresh", "DURATION", "15s", "decrypt files in use anew so long before their ttl ends; 0: never", false, duration(0, 24*time.Hour, func(s *settings) *time.Duration { return &s.refresh })},
	{"stale", "DURATION", "0s", "how long past its ttl a plaintext may serve while KMS gives no answer", false, duration(0, 24*time.Hour, func(s *settings) *time.Duration { return &s.stale })},
	{"cache_size", "SIZE", "64MiB", "how much plaintext is kept", false, size(64<<10, 16<<30, func(s *settings) *int64 { return &s.cacheSize })},
	{"require_mlock", "", "", "refuse to start when memory cannot be locked", false, boolean(func(s *settings) *bool { return &s.requireMlock })},
	{"file_mode", "MODE", "0400", "permissions of files", false, mode(func(s *settings) *uint32 { return &s.fileMode })},
	{"dir_mode", "MODE", "0500", "permissions of directories", false, mode(func(s *settings) *uint32 { return &s.dirMode })},
	{"uid", "USER", strconv.Itoa(os.Geteuid()), "owner of everything, by name or number", false, owner("user", userNumber, func(s *settings) *uint32 { return &s.uid })},
	{"gid", "GROUP", strconv.Itoa(os.Getegid()), "group of everything, by name or number", false, owner("group", groupNumber, func(s *settings) *uint32 { return &s.gid })},
	{"allow_other", "", "", "let other users in, as far as the permissions do", false, boolean(func(s *settings) *bool { return &s.allowOther })},
	{"shared", "", "", "share the mount with later mount namespaces (else it is private)", false, boolean(func(s *settings) *bool { return &s.shared })},
	{"nonempty", "", "", "mount over a directory that is not empty", false, boolean(func(s *settings) *bool { return &s.nonempty })},
	{"plain", "show|hide", "hide", "files without the suffix .cipher", false, choice("show", "hide", func(s *settings) *bool { return &s.plain })},
	{"open", "checked|fast", "checked", "checked: every open is checked and logged; fast: the kernel caches", false, choice("fast", "checked", func(s *settings) *bool { return &s.fast })},
	{"log_file", "FILE", "", "append the log to a file (else stderr in the foreground, syslog in the background)", false, text(func(s *settings) *string { return &s.logFile })},
}

// standard options of mount(8) and libfuse that say what kmsfs does anyway, or
// nothing to it. The opposite of what it insists on (rw, suid, dev, exec) is
// accepted because "defaults" expands to it, and overridden.
var standard = []string{"ro", "rw", "nosuid", "suid", "nodev", "dev", "noexec", "exec", "noatime", "relatime", "nodiratime",
	"default_permissions", "defaults", "auto", "noauto", "_netdev", "nofail", "user", "nouser", "users", "owner", "group", "async", "private"}

// defaults returns settings as if no option had been given.
func defaults() (*settings, error) {
	s := &settings{}
	for _, o := range options {
		if o.deflt == "" {
			continue
		}
		if err := o.set(s, o.deflt); err != nil {
			return nil, fmt.Errorf("default of %s: %w", o.key, err)
		}
	}
	return s, nil
}

// setList applies one -o argument: key[=value] separated by commas.
func (s *settings) setList(list string) error {
	for item := range strings.SplitSeq(list, ",") {
		key, value, valued := strings.Cut(item, "=")
		if key == "" && !valued || slices.Contains(standard, item) || strings.HasPrefix(item, "x-") || key == "user" {
			continue
		}
		if item == "direct_io" { // what open=checked does anyway
			s.directIO = true
			continue
		}
		if item == "remount" {
			return ui.Failf("remount: a mount of kmsfs cannot be changed").Hint("unmount it, then mount it with the new options")
		}
		i := slices.IndexFunc(options, func(o option) bool { return o.key == key })
		if i < 0 && s.sloppy {
			continue
		}
		if i < 0 {
			return ui.Usagef("read option %s: unknown", ui.Quote(key)).Hint("kmsfs mount --help lists the options")
		}
		o := options[i]
		if !valued {
			if o.value != "" {
				return ui.Usagef("read option %s: no value", key).Hint("write %s=%s", key, o.value)
			}
			value = "true"
		}
		if err := o.apply(s, value); err != nil {
			return err
		}
	}
	return nil
}

func (o option) apply(s *settings, value string) error {
	if strings.ContainsFunc(value, func(r rune) bool { return r < 0x20 || r == 0x7f }) {
		return ui.Usagef("read option %s: control character in the value", o.key)
	}
	if err := o.set(s, value); err != nil {
		return ui.Usagef("read option %s: %w", o.key, err)
	}
	return nil
}

// addFlags gives a command its part of the table, in the table's order: all
// of it to mount, and to a verb that has use for them the keys in more.
func (s *settings) addFlags(flags *pflag.FlagSet, mount bool, more ...string) {
	flags.SortFlags = false
	if mount {
		flags.VarP(optionList{s}, "options", "o", "the options below as key=value, separated by commas, dashes as underscores")
	}
	for _, o := range options {
		if !mount && !o.verb && !slices.Contains(more, o.key) {
			continue
		}
		help := o.help
		if o.deflt != "" {
			help += " (default " + o.deflt + ")"
		}
		f := flags.VarPF(optionFlag{o, s}, strings.ReplaceAll(o.key, "_", "-"), "", help)
		if o.value == "" {
			f.NoOptDefVal = "true"
		}
	}
	if !mount {
		flags.BoolVarP(&s.verbose, "verbose", "v", false, "warn of an unusual endpoint, ca_file or proxy, and of a credentials file that others can read")
	}
}

// optionFlag is a row of the table as a flag.
type optionFlag struct {
	option
	s *settings
}

func (f optionFlag) Set(v string) error { return f.apply(f.s, v) }
func (f optionFlag) String() string     { return "" } // the default stands in the help

func (f optionFlag) Type() string {
	if f.value == "" {
		return "bool" // pflag then shows no placeholder
	}
	return f.value
}

// optionList is -o.
type optionList struct{ s *settings }

func (l optionList) Set(v string) error { return l.s.setList(v) }
func (l optionList) String() string     { return "" }
func (l optionList) Type() string       { return "KEY=VALUE,…" }

func text(field func(*settings) *string) func(*settings, string) error {
	return func(s *settings, v string) error {
		if v == "" {
			return fmt.Errorf("empty")
		}
		*field(s) = v
		return nil
	}
}

func boolean(field func(*settings) *bool) func(*settings, string) error {
	return func(s *settings, v string) error {
		b, err := strconv.ParseBool(v)
		if err != nil {
			return fmt.Errorf("%s is not true or false", ui.Quote(v))
		}
		*field(s) = b
		return nil
	}
}

func duration(least, most time.Duration, field func(*settings) *time.Duration) func(*settings, string) error {
	return func(s *settings, v string) error {
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

func size(least, most int64, field func(*settings) *int64) func(*settings, string) error {
	units := map[string]int64{"": 1, "B": 1, "K": 1 << 10, "KiB": 1 << 10, "M": 1 << 20, "MiB": 1 << 20, "G": 1 << 30, "GiB": 1 << 30}
	return func(s *settings, v string) error {
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

func mode(field func(*settings) *uint32) func(*settings, string) error {
	return func(s *settings, v string) error {
		m, err := strconv.ParseUint(v, 8, 32)
		if err != nil || m > 0o777 {
			return fmt.Errorf("%s is not an octal mode like 0440", ui.Quote(v))
		}
		*field(s) = uint32(m)
		return nil
	}
}

func owner(what string, number func(name string) (string, error), field func(*settings) *uint32) func(*settings, string) error {
	return func(s *settings, v string) error {
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

func choice(yes, no string, field func(*settings) *bool) func(*settings, string) error {
	return func(s *settings, v string) error {
		if v != yes && v != no {
			return fmt.Errorf("%s is neither %s nor %s", ui.Quote(v), yes, no)
		}
		*field(s) = v == yes
		return nil
	}
}

func keyList(s *settings, v string) error {
	keys := strings.Split(v, ";")
	if _, err := kms.Allow(nil, nil, keys); err != nil {
		return err
	}
	s.keys = keys
	return nil
}

func encryptionContext(s *settings, v string) (err error) {
	s.context, err = kms.ParseContext(v)
	return err
}

func encoding(s *settings, v string) (err error) {
	s.encoding, err = kms.ParseEncoding(v)
	return err
}

func perSecond(s *settings, v string) error {
	n, err := strconv.Atoi(v)
	if err != nil || n < 1 || n > 1000 {
		return fmt.Errorf("%s is not between 1 and 1000, which is what an account has", ui.Quote(v))
	}
	s.qps = n
	return nil
}
