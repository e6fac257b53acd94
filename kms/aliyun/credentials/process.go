package credentials

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/aliyun/credentials-go/credentials/providers"

	"github.com/kmsfs/kmsfs/fs/trusted"
	"github.com/kmsfs/kmsfs/kms"
)

const (
	processPatience  = fetchPatience - time.Second
	maxProcessOutput = 64 << 10
)

// process makes the provider of mode External. It is our own, for the library's
// gives the command all of our environment, prints what it cannot parse, and
// writes the result into the file.
func (f finder) process(command string) (libraryProvider, error) {
	if !f.AllowProcess {
		return nil, fmt.Errorf("%w: mode External", ErrProcessRefused)
	}
	argv, err := splitCommand(command)
	if err != nil {
		return nil, fmt.Errorf("%w: process_command: %w", ErrBadProfile, err)
	}
	if !filepath.IsAbs(argv[0]) {
		return nil, fmt.Errorf("%w: process_command must begin with an absolute path", ErrBadProfile)
	}
	if _, _, err := trusted.Find(argv[0]); err != nil {
		return nil, fmt.Errorf("process_command: %w", err)
	}
	env := []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG=C.UTF-8"}
	if home := f.Getenv("HOME"); filepath.IsAbs(home) {
		env = append(env, "HOME="+home)
	}
	return &external{argv: argv, env: env}, nil
}

// external is a command that prints credentials.
type external struct {
	argv, env []string
	expires   time.Time
}

func (e *external) GetProviderName() string { return "external" }

func (e *external) expiry() time.Time { return e.expires }

// GetCredentials implements providers.CredentialsProvider. What the command
// prints is never repeated.
func (e *external) GetCredentials() (*providers.Credentials, error) {
	ctx, cancel := context.WithTimeout(context.Background(), processPatience)
	defer cancel()
	cmd := exec.CommandContext(ctx, e.argv[0], e.argv[1:]...)
	var out bounded
	cmd.Env, cmd.Dir, cmd.Stdout = e.env, "/", &out
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // so that its children end with it
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = 500 * time.Millisecond
	err := cmd.Run()
	defer func() { clear(out.kept) }()
	var exit *exec.ExitError
	switch {
	case ctx.Err() != nil:
		return nil, fault(kms.ErrTransient, "the command did not end within "+processPatience.String())
	case out.full:
		return nil, fault(kms.ErrAuthentication, "the command printed too much")
	case errors.As(err, &exit):
		return nil, fault(kms.ErrAuthentication, fmt.Sprintf("the command failed (exit code %d)", exit.ExitCode()))
	case errors.Is(err, exec.ErrWaitDelay):
		return nil, fault(kms.ErrAuthentication, "the command left something behind that keeps its output open")
	case err != nil:
		return nil, fault(kms.ErrAuthentication, "the command could not be run")
	}
	var a struct {
		AccessKeyID     string `json:"access_key_id"`
		AccessKeySecret string `json:"access_key_secret"`
		SecurityToken   string `json:"sts_token"`
		Expiration      string `json:"expiration"`
	}
	if json.Unmarshal(out.kept, &a) != nil {
		return nil, fault(kms.ErrAuthentication, "the command printed something else than credentials")
	}
	if a.Expiration != "" {
		if e.expires, err = time.Parse(time.RFC3339, a.Expiration); err != nil {
			return nil, fault(kms.ErrAuthentication, "the command printed a malformed expiration")
		}
	}
	return &providers.Credentials{AccessKeyId: a.AccessKeyID, AccessKeySecret: a.AccessKeySecret, SecurityToken: a.SecurityToken}, nil
}

// bounded is a buffer that a command cannot fill the memory with. It embeds
// nothing: io.Copy would find a way around Write.
type bounded struct {
	kept []byte
	full bool // there was more
}

func (b *bounded) Write(p []byte) (int, error) {
	if len(b.kept)+len(p) > maxProcessOutput {
		b.full = true
		return 0, io.ErrShortWrite
	}
	b.kept = append(b.kept, p...)
	return len(p), nil
}

// splitCommand splits a command into words as the aliyun command does: at white
// space, with quotes and backslashes as in a shell, and nothing else of a
// shell.
func splitCommand(command string) ([]string, error) {
	var words []string
	var word strings.Builder
	var quote rune
	inWord, escaped := false, false
	for _, r := range command {
		switch {
		case escaped:
			if quote == '"' && !strings.ContainsRune("\"\\$`", r) {
				word.WriteByte('\\')
			}
			word.WriteRune(r)
			escaped = false
		case r == '\\' && quote != '\'':
			escaped, inWord = true, true
		case r == quote:
			quote = 0
		case quote != 0:
			word.WriteRune(r)
		case r == '\'' || r == '"':
			quote, inWord = r, true
		case strings.ContainsRune(" \t\r\n", r):
			if inWord {
				words = append(words, word.String())
				word.Reset()
				inWord = false
			}
		default:
			word.WriteRune(r)
			inWord = true
		}
	}
	if quote != 0 || escaped {
		return nil, errors.New("a quote or a backslash is left open")
	}
	if inWord {
		words = append(words, word.String())
	}
	if len(words) == 0 || words[0] == "" {
		return nil, errors.New("it is empty")
	}
	return words, nil
}
