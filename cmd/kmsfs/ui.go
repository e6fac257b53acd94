package main

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"strconv"
	"strings"
	"syscall"

	"github.com/kmsfs/kmsfs/kms"
	"github.com/kmsfs/kmsfs/kms/aliyun"
)

// Messages: the program's name, lower case, no full stop: verb noun: cause.
// What to do about it stands in a second line that begins with "hint:".

// failure is an error with what the user needs to know beyond its text.
type failure struct {
	err   error
	tip   string
	class class
}

// class is what kind of exit code a failure has.
type class int

const (
	ordinary class = iota
	misused        // the command line was wrong
	starving       // the system gave no process, pipe or memory
)

func (f *failure) Error() string { return f.err.Error() }
func (f *failure) Unwrap() error { return f.err }

func (f *failure) hint(format string, a ...any) *failure {
	f.tip = fmt.Sprintf(format, a...)
	return f
}

func failf(format string, a ...any) *failure { return &failure{err: fmt.Errorf(format, a...)} }
func usagef(format string, a ...any) *failure {
	return &failure{err: fmt.Errorf(format, a...), class: misused}
}
func systemf(format string, a ...any) *failure {
	return &failure{err: fmt.Errorf(format, a...), class: starving}
}

// asUsage marks an error of the flag parser. One of ours says which option it
// is about, and needs none of the parser's words.
func asUsage(err error, tip string) error {
	if f, ok := errors.AsType[*failure](err); ok {
		return &failure{err: f.err, tip: cmp.Or(f.tip, tip), class: misused}
	}
	return &failure{err: fmt.Errorf("read command line: %w", err), tip: tip, class: misused}
}

// exitError ends the program with the code that another process of it gave,
// which has printed its message already.
type exitError int

func (e exitError) Error() string { return "exit " + strconv.Itoa(int(e)) }

// exitCodes are what a failure means to the caller.
type exitCodes [3]int

var (
	verbCodes  = exitCodes{ordinary: 1, misused: 2, starving: 1}
	mountCodes = exitCodes{ordinary: 32, misused: 1, starving: 2} // mount(8)
)

// report prints an error and returns the exit code.
func (p *program) report(err error, codes exitCodes) int {
	if code, ok := errors.AsType[exitError](err); ok {
		return int(code)
	}
	f, _ := errors.AsType[*failure](err)
	p.complain(err)
	if f != nil {
		return codes[f.class]
	}
	return codes[ordinary]
}

// complain prints one error: a line, and a hint where there is one.
func (p *program) complain(err error) { p.complainOnce(err, nil) }

// complainOnce leaves out the hints that have been given, and adds its own to
// them.
func (p *program) complainOnce(err error, given map[string]bool) {
	fmt.Fprintf(p.stderr, "kmsfs: %s\n", oneLine(err.Error()))
	if tip := hintFor(err); tip != "" && !given[tip] {
		if given != nil {
			given[tip] = true
		}
		fmt.Fprintf(p.stderr, "hint: %s\n", oneLine(tip))
	}
}

const giveCredentials = "set ALIBABA_CLOUD_ACCESS_KEY_ID and ALIBABA_CLOUD_ACCESS_KEY_SECRET in the environment, or configure a profile with aliyun configure; on an ECS instance with a role, unset ALIBABA_CLOUD_ECS_METADATA_DISABLED"

// hints are what to do about an error that does not bring a hint itself, the
// first one that fits.
var hints = []struct {
	about error
	hint  string
}{
	{aliyun.ErrNoCredentials, giveCredentials},
	{aliyun.ErrHalfCredentials, giveCredentials},
	{aliyun.ErrNoProfile, "aliyun configure list shows the profiles there are"},
	{aliyun.ErrBadProfile, "kmsfs reads config.json as aliyun configure writes it, or an ini file"},
	{aliyun.ErrBadSource, "choose one of profile or credentials_file, and ram_role; a path must be absolute"},
	{aliyun.ErrUnsafeFile, "the file and its directories must belong to root or to you, and nobody else may write to them: chmod 600"},
	{aliyun.ErrProcessRefused, "if that command is to run, with the rights of kmsfs: credential_process=allow"},
	{aliyun.ErrUnsupportedMode, "modes that work: AK, StsToken, RamRoleArn, ChainableRamRoleArn, EcsRamRole, OIDC, CredentialsURI, CloudSSO, OAuth, External"},
	{aliyun.ErrTestOnlyCA, "this is the certificate of the KMS emulator; if that is what you want, mount with -o allow_emulator, or set KMSFS_ALLOW_EMULATOR=1 for the other commands"},
	{aliyun.ErrUnsafeEnvironment, "unset the variable: it would print secrets"},
	{aliyun.ErrBadRegion, "a region looks like cn-hangzhou; set ALIBABA_CLOUD_REGION_ID or give --region"},
	{aliyun.ErrBadEndpoint, "an endpoint looks like kms.cn-hangzhou.aliyuncs.com or 127.0.0.1:8443"},
	{kms.ErrAuthentication, "check the access key, its secret and token, and the clock of this machine"},
	{kms.ErrDenied, "the RAM policy of this identity must allow the call for this key"},
	{kms.ErrKeyState, "see whether the key exists in this region and is enabled: aliyun kms DescribeKey --KeyId …"},
	{kms.ErrBadCiphertext, "was it encrypted in this region, with the same encryption context and encoding, and copied whole?"},
	{kms.ErrTransient, "check the endpoint, the network and the proxy settings, then try again"},
	{fs.ErrPermission, "run as root, or as the owner of the file"},
	{syscall.ENOSPC, "make room on that file system"},
}

// hintFor derives a hint from an error, the nearest one to the cause.
func hintFor(err error) string {
	if f, ok := errors.AsType[*failure](err); ok && f.tip != "" {
		return f.tip
	}
	if e, ok := errors.AsType[*kms.Error](err); ok && e.Hint != "" {
		return e.Hint
	}
	for _, h := range hints {
		if errors.Is(err, h.about) {
			return h.hint
		}
	}
	return ""
}

// oneLine keeps a hostile name from starting a line of its own or speaking to
// the terminal.
func oneLine(s string) string {
	var b strings.Builder
	for _, c := range []byte(s) {
		if c < 0x20 || c == 0x7f {
			fmt.Fprintf(&b, `\x%02x`, c)
		} else {
			b.WriteByte(c)
		}
	}
	// C1 controls and bidirectional overrides hide in UTF-8.
	return strings.Map(func(r rune) rune {
		if r == 0xfffd || r >= 0x80 && r < 0xa0 || r >= 0x200e && r <= 0x200f || r >= 0x202a && r <= 0x202e || r >= 0x2066 && r <= 0x2069 {
			return '?'
		}
		return r
	}, b.String())
}

// plainName is a file name in a list: as it is if it is plain ASCII, quoted
// otherwise.
func plainName(s string) string {
	if strings.Contains(s, " ") {
		return quote(s)
	}
	return asciiName(s)
}

// asciiName is a file name where nothing follows: quoted only if it has to be.
func asciiName(s string) string {
	if q := quote(s); q[1:len(q)-1] != s {
		return q
	}
	return s
}

func quote(s string) string { return strconv.QuoteToASCII(s) }

func (p *program) warn(text string) { fmt.Fprintf(p.stderr, "kmsfs: warning: %s\n", oneLine(text)) }
