// Package lab sets up what a trial of kmsfs needs: the built programs, a
// running KMS emulator with a key, and an environment in which nothing can
// reach a real cloud. The integration tests and the demonstration share it.
package lab

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

const (
	accessKeyID     = "lab-access-key"
	accessKeySecret = "lab-access-key-secret"

	// Region is where the emulator says it is.
	Region = "cn-hangzhou"
	// Alias is the name of the key that CreateKey makes.
	Alias = "alias/Apollo/WorkKey"

	// patience bounds every wait for something that should be there soon.
	patience = 20 * time.Second
)

// Build compiles the programs into dir/kmsfs and dir/kms-emulator, statically
// and as they are shipped.
func Build(dir string) error {
	for _, name := range []string{"kmsfs", "kms-emulator"} {
		cmd := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", filepath.Join(dir, name), "github.com/kmsfs/kmsfs/cmd/"+name)
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("build %s: %w\n%s", name, err, out)
		}
	}
	return nil
}

// Lab is a running emulator and the programs that speak to it.
type Lab struct {
	Bin      string // directory of the programs
	Dir      string // the lab's own files; the caller removes it
	Endpoint string // host:port of the emulator
	CAFile   string
	Network  string // path of the network namespace of all of it; empty: this one

	// Of the instance's own endpoint, if the arguments of Start or
	// StartEmulator have --instance-listen; else empty.
	InstanceEndpoint string // host:port
	InstanceCAFile   string

	emulator *exec.Cmd
	admin    string // URL
	args     []string
}

// Start starts the emulator and waits until it answers.
func Start(bin, dir string, args ...string) (*Lab, error) {
	return StartIn("", bin, dir, args...)
}

// StartIn is Start in another network namespace.
func StartIn(network, bin, dir string, args ...string) (*Lab, error) {
	if err := os.MkdirAll(filepath.Join(dir, "home"), 0o700); err != nil {
		return nil, err
	}
	l := &Lab{Bin: bin, Dir: dir, CAFile: filepath.Join(dir, "ca.pem"), Network: network, args: args}
	return l, l.StartEmulator("127.0.0.1:0")
}

// StartEmulator starts the emulator (again) on an address, with more arguments
// than Start got.
func (l *Lab) StartEmulator(listen string, more ...string) error {
	log, err := os.OpenFile(filepath.Join(l.Dir, "emulator.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	args := slices.Concat([]string{
		"--listen", listen, "--admin", "127.0.0.1:0", "--region", Region,
		"--state", filepath.Join(l.Dir, "kms.db"), "--ca-out", l.CAFile}, l.args, more)
	l.InstanceEndpoint, l.InstanceCAFile = "", ""
	if slices.ContainsFunc(args, func(a string) bool { return strings.HasPrefix(a, "--instance-listen") }) {
		l.InstanceCAFile = filepath.Join(l.Dir, "instance-ca.pem")
		args = append(args, "--instance-ca-out", l.InstanceCAFile)
	}
	cmd := l.command("kms-emulator", args...)
	cmd.Env = l.Env()
	cmd.Stderr = log
	// The emulator outlives neither a lab that is killed nor, with its own
	// process group, dies of a Ctrl-C that the lab wants to handle.
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start the emulator: %w", err)
	}
	l.emulator = cmd
	ready := make(chan error, 1)
	go func() {
		s := bufio.NewScanner(out)
		for s.Scan() {
			if addr, ok := strings.CutPrefix(s.Text(), "admin "); ok {
				l.admin = addr
			}
			if addr, ok := strings.CutPrefix(s.Text(), "instance https://"); ok {
				l.InstanceEndpoint = addr
			}
			if addr, ok := strings.CutPrefix(s.Text(), "ready https://"); ok {
				l.Endpoint = addr
				ready <- nil
				io.Copy(io.Discard, out)
				return
			}
		}
		ready <- errors.New("the emulator ended before it was ready; see emulator.log")
	}()
	select {
	case err = <-ready:
	case <-time.After(patience):
		err = errors.New("the emulator was not ready in time")
	}
	if err != nil {
		l.KillEmulator()
	}
	return err
}

// EmulatorPID is the process id of the emulator.
func (l *Lab) EmulatorPID() int { return l.emulator.Process.Pid }

// KillEmulator ends the emulator at once, as a crash would.
func (l *Lab) KillEmulator() {
	if l.emulator != nil {
		l.emulator.Process.Kill()
		l.emulator.Wait()
		l.emulator = nil
	}
}

// Stop ends the emulator in order.
func (l *Lab) Stop() error {
	if l.emulator == nil {
		return nil
	}
	cmd := l.emulator
	l.emulator = nil
	cmd.Process.Signal(syscall.SIGTERM)
	killer := time.AfterFunc(patience, func() { cmd.Process.Kill() })
	defer killer.Stop()
	if err := cmd.Wait(); err != nil {
		return fmt.Errorf("stop the emulator: %w", err)
	}
	return nil
}

// Env is the environment of every program in the lab: the emulator's keys and
// address, an empty home, and no way to a metadata service.
func (l *Lab) Env(more ...string) []string {
	return append([]string{
		"PATH=" + os.Getenv("PATH"),
		"HOME=" + filepath.Join(l.Dir, "home"),
		"TMPDIR=" + l.Dir,
		"ALIBABA_CLOUD_ECS_METADATA_DISABLED=true",
		"ALIBABA_CLOUD_ACCESS_KEY_ID=" + accessKeyID,
		"ALIBABA_CLOUD_ACCESS_KEY_SECRET=" + accessKeySecret,
		"ALIBABA_CLOUD_REGION_ID=" + Region,
		"KMSFS_ENDPOINT=" + l.Endpoint,
		"KMSFS_CA_FILE=" + l.CAFile,
		"KMSFS_ALLOW_EMULATOR=1",
	}, more...)
}

// Command is kmsfs with arguments, in the lab's environment.
func (l *Lab) Command(args ...string) *exec.Cmd {
	cmd := l.command("kmsfs", args...)
	cmd.Env = l.Env()
	cmd.Dir = l.Dir
	return cmd
}

// Kmsfs runs kmsfs and returns its standard output. A Ctrl-C is not for it.
func (l *Lab) Kmsfs(stdin io.Reader, args ...string) (string, error) {
	cmd := l.Command(args...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	var stdout, stderr bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = stdin, &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return stdout.String(), fmt.Errorf("kmsfs %s: %w\n%s", strings.Join(args, " "), err, &stderr)
	}
	return stdout.String(), nil
}

// CreateKey makes a key with the lab's alias and returns its id.
func (l *Lab) CreateKey() (string, error) {
	out, err := l.Kmsfs(nil, "create-key", "--description", "lab")
	if err != nil {
		return "", err
	}
	var answer struct{ KeyMetadata struct{ KeyId string } }
	if err := json.Unmarshal([]byte(out), &answer); err != nil || answer.KeyMetadata.KeyId == "" {
		return "", fmt.Errorf("create-key printed no key id: %v\n%s", err, out)
	}
	_, err = l.Kmsfs(nil, "create-alias", Alias, answer.KeyMetadata.KeyId)
	return answer.KeyMetadata.KeyId, err
}

// Calls is how many requests of each action the emulator has seen.
func (l *Lab) Calls() (map[string]int, error) {
	var stats struct{ Calls map[string]int }
	body, err := l.adminRequest(http.MethodGet, "/stats", nil)
	if err != nil {
		return nil, err
	}
	err = json.Unmarshal(body, &stats)
	return stats.Calls, err
}

// ResetCalls starts the count anew.
func (l *Lab) ResetCalls() error {
	_, err := l.adminRequest(http.MethodDelete, "/stats", nil)
	return err
}

// Fault makes the emulator misbehave; see kms-emulator --help.
func (l *Lab) Fault(fault map[string]any) error {
	b, err := json.Marshal(fault)
	if err != nil {
		return err
	}
	_, err = l.adminRequest(http.MethodPost, "/faults", b)
	return err
}

// Token is a temporary access key.
type Token struct {
	AccessKeyId, AccessKeySecret, SecurityToken string
	Expiration                                  time.Time
}

// Token makes a temporary access key that lives for a while, such as "2s".
func (l *Lab) Token(life string) (t Token, err error) {
	body, err := l.adminRequest(http.MethodPost, "/sts", []byte(`{"ttl":"`+life+`"}`))
	if err != nil {
		return t, err
	}
	return t, json.Unmarshal(body, &t)
}

// ClearFaults ends all faults.
func (l *Lab) ClearFaults() error {
	_, err := l.adminRequest(http.MethodDelete, "/faults", nil)
	return err
}

// SetInternetAccess turns the console's switch: whether keys of an instance do
// cryptography at Endpoint.
func (l *Lab) SetInternetAccess(on bool) error {
	_, err := l.adminRequest(http.MethodPost, "/internet-access", []byte(fmt.Sprintf(`{"on":%v}`, on)))
	return err
}

func (l *Lab) adminRequest(method, path string, body []byte) ([]byte, error) {
	req, err := http.NewRequest(method, l.admin+path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	client := &http.Client{Timeout: patience, Transport: &http.Transport{DisableKeepAlives: true, DialContext: l.Dial}}
	resp, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		return nil, err
	}
	if resp.StatusCode/100 != 2 {
		return nil, fmt.Errorf("%s %s: %s: %s", method, path, resp.Status, answer)
	}
	return answer, nil
}
