// Package ui is how kmsfs speaks to people. A message has the program's name,
// is lower case and has no full stop: verb noun: cause. What to do about it
// stands in a second line that begins with "hint:". Whatever comes from outside
// is written so that it cannot speak to the terminal.
package ui

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strconv"
	"strings"
	"syscall"

	"github.com/kmsfs/kmsfs/fs/trusted"
	"github.com/kmsfs/kmsfs/kms"
	"github.com/kmsfs/kmsfs/kms/aliyun"
	"github.com/kmsfs/kmsfs/kms/aliyun/credentials"
	"github.com/kmsfs/kmsfs/kms/aliyun/scrub"
)

// Failure is an error with what the user needs to know beyond its text.
type Failure struct {
	err   error
	Tip   string
	Class Class
}

// Class is what kind of exit code a failure has.
type Class int

const (
	Ordinary Class = iota
	Misused        // the command line was wrong
	starving       // the system gave no process, pipe or memory
)

func (f *Failure) Error() string { return f.err.Error() }
func (f *Failure) Unwrap() error { return f.err }

// Hint adds what to do about it.
func (f *Failure) Hint(format string, a ...any) *Failure {
	f.Tip = fmt.Sprintf(format, a...)
	return f
}

// Failf is an ordinary failure.
func Failf(format string, a ...any) *Failure { return &Failure{err: fmt.Errorf(format, a...)} }

// Usagef is a failure of the command line.
func Usagef(format string, a ...any) *Failure {
	return &Failure{err: fmt.Errorf(format, a...), Class: Misused}
}

// Systemf is a failure of the system that runs us.
func Systemf(format string, a ...any) *Failure {
	return &Failure{err: fmt.Errorf(format, a...), Class: starving}
}

// AsUsage marks an error of the flag parser. One of ours says which option it
// is about, and needs none of the parser's words.
func AsUsage(err error, tip string) error {
	if f, ok := errors.AsType[*Failure](err); ok {
		return &Failure{err: f.err, Tip: cmp.Or(f.Tip, tip), Class: Misused}
	}
	return &Failure{err: fmt.Errorf("read command line: %w", err), Tip: tip, Class: Misused}
}

// ExitError ends the program with the code that another process of it gave,
// which has printed its message already.
type ExitError int

func (e ExitError) Error() string { return "exit " + strconv.Itoa(int(e)) }

// ExitCodes are what a failure means to the caller.
type ExitCodes [3]int

// Codes of the verbs, and of the helper that mount(8) calls.
var (
	VerbCodes  = ExitCodes{Ordinary: 1, Misused: 2, starving: 1}
	MountCodes = ExitCodes{Ordinary: 32, Misused: 1, starving: 2} // mount(8)
)

// Report prints an error and returns the exit code.
func Report(w io.Writer, err error, codes ExitCodes) int {
	if code, ok := errors.AsType[ExitError](err); ok {
		return int(code)
	}
	f, _ := errors.AsType[*Failure](err)
	complain(w, err)
	if f != nil {
		return codes[f.Class]
	}
	return codes[Ordinary]
}

// complain prints one error: a line, and a hint where there is one.
func complain(w io.Writer, err error) { ComplainOnce(w, err, nil) }

// ComplainOnce leaves out the hints that have been given, and adds its own to
// them.
func ComplainOnce(w io.Writer, err error, given map[string]bool) {
	fmt.Fprintf(w, "kmsfs: %s\n", OneLine(err.Error()))
	if tip := hintFor(err); tip != "" && !given[tip] {
		if given != nil {
			given[tip] = true
		}
		fmt.Fprintf(w, "hint: %s\n", OneLine(tip))
	}
}

const giveCredentials = "set ALIBABA_CLOUD_ACCESS_KEY_ID and ALIBABA_CLOUD_ACCESS_KEY_SECRET in the environment, " +
	"or configure a profile with aliyun configure; on an ECS instance with a role, unset ALIBABA_CLOUD_ECS_METADATA_DISABLED"

// hints are what to do about an error that does not bring a hint itself, the
// first one that fits.
var hints = []struct {
	about error
	hint  string
}{
	{credentials.ErrNone, giveCredentials},
	{credentials.ErrHalf, giveCredentials},
	{credentials.ErrNoProfile, "aliyun configure list shows the profiles there are"},
	{credentials.ErrBadProfile, "kmsfs reads config.json as aliyun configure writes it, or an ini file"},
	{credentials.ErrBadSource, "choose one of profile or credentials_file, and ram_role; a path must be absolute"},
	{trusted.ErrUnsafe, "the file and its directories must belong to root or to you, and nobody else may write to them: chmod 600"},
	{credentials.ErrProcessRefused, "if that command is to run, with the rights of kmsfs: credential_process=allow"},
	{credentials.ErrUnsupportedMode, "modes that work: AK, StsToken, RamRoleArn, ChainableRamRoleArn, EcsRamRole, OIDC, " +
		"CredentialsURI, CloudSSO, OAuth, External"},
	{scrub.ErrTestOnlyCA, "this is the certificate of the KMS emulator; if that is what you want, " +
		"mount with -o allow_emulator, or set KMSFS_ALLOW_EMULATOR=1 for the other commands"},
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
	if f, ok := errors.AsType[*Failure](err); ok && f.Tip != "" {
		return f.Tip
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

// OneLine keeps a hostile name from starting a line of its own or speaking to
// the terminal.
func OneLine(s string) string {
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

// PlainName is a file name in a list: as it is if it is plain ASCII, quoted
// otherwise.
func PlainName(s string) string {
	if strings.Contains(s, " ") {
		return Quote(s)
	}
	return ASCIIName(s)
}

// ASCIIName is a file name where nothing follows: quoted only if it has to be.
func ASCIIName(s string) string {
	if q := Quote(s); q[1:len(q)-1] != s {
		return q
	}
	return s
}

// Quote is a name in a message.
func Quote(s string) string { return strconv.QuoteToASCII(s) }

// Warn prints what is no error, but should be known.
func Warn(w io.Writer, text string) { fmt.Fprintf(w, "kmsfs: warning: %s\n", OneLine(text)) }
