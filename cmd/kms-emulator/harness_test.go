package main

import (
	"bufio"
	"bytes"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha1"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestMain lets this test binary be the program itself, so that what is killed
// below is a real process.
func TestMain(m *testing.M) {
	if os.Getenv("KMS_EMULATOR_TEST_MAIN") != "" {
		main()
	}
	os.Exit(m.Run())
}

const id, secret = "LTAIcmd", "the-secret-of-LTAIcmd"

// process is a running kms-emulator.
type process struct {
	t          *testing.T
	cmd        *exec.Cmd
	url, admin string
	instance   string // URL; empty unless the arguments ask for one
	stdout     *bufio.Reader
	stderr     bytes.Buffer
}

func program(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self, args...)
	cmd.Env = append(os.Environ(), "KMS_EMULATOR_TEST_MAIN=1", envID+"="+id, envSecret+"="+secret)
	return cmd
}

// start runs the program and returns when it is ready.
func start(t *testing.T, dir string, args ...string) *process {
	t.Helper()
	p := &process{t: t, cmd: program(t, append([]string{"--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0",
		"--state", filepath.Join(dir, "state.db"), "--ca-out", filepath.Join(dir, "ca.pem")}, args...)...)}
	p.cmd.Stderr = &p.stderr
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		p.cmd.Process.Kill()
		p.cmd.Wait()
	})
	p.stdout = bufio.NewReader(out)
	line := func(prefix string) string {
		s, err := p.stdout.ReadString('\n')
		rest, ok := strings.CutPrefix(strings.TrimSuffix(s, "\n"), prefix)
		if err != nil || !ok {
			p.cmd.Process.Kill()
			p.cmd.Wait()
			t.Fatalf("printed %q, %v, want %q…; stderr:\n%s", s, err, prefix, p.stderr.String())
		}
		return rest
	}
	p.admin = "http://127.0.0.1:" + line("admin http://127.0.0.1:")
	if slices.Contains(args, "--instance-listen") {
		p.instance = "https://127.0.0.1:" + line("instance https://127.0.0.1:")
	}
	p.url = "https://127.0.0.1:" + line("ready https://127.0.0.1:")
	return p
}

// end sends a signal and returns the exit status, -1 after a killing one.
func (p *process) end(s os.Signal) int {
	p.t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil {
		p.t.Fatal(err)
	}
	if rest, err := io.ReadAll(p.stdout); err != nil || len(rest) > 0 {
		p.t.Errorf("printed %q behind the ready line, %v", rest, err)
	}
	p.cmd.Wait()
	return p.cmd.ProcessState.ExitCode()
}

func client(t *testing.T, caFile string) *http.Client {
	t.Helper()
	ca, err := os.ReadFile(caFile)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(ca) {
		t.Fatalf("no certificate in %q", ca)
	}
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}, DisableKeepAlives: true}
	return &http.Client{Transport: transport, Timeout: 20 * time.Second}
}

// call performs an action, signed, and returns its answer.
func (p *process) call(c *http.Client, action string, pairs ...string) map[string]any {
	p.t.Helper()
	out, err := p.try(c, action, pairs...)
	if err != nil {
		p.t.Fatal(err)
	}
	return out
}

func (p *process) try(c *http.Client, action string, pairs ...string) (map[string]any, error) {
	v := url.Values{
		"AccessKeyId": {id}, "Action": {action}, "Version": {"2016-01-20"}, "SignatureNonce": {rand.Text()},
		"SignatureMethod": {"HMAC-SHA1"}, "SignatureVersion": {"1.0"},
		"Timestamp": {time.Now().UTC().Format("2006-01-02T15:04:05Z")},
	}
	for i := 0; i < len(pairs); i += 2 {
		v.Set(pairs[i], pairs[i+1])
	}
	rfc3986 := func(s string) string { return strings.ReplaceAll(s, "+", "%20") }
	mac := hmac.New(sha1.New, []byte(secret+"&"))
	io.WriteString(mac, "POST&%2F&"+rfc3986(url.QueryEscape(rfc3986(v.Encode()))))
	v.Set("Signature", base64.StdEncoding.EncodeToString(mac.Sum(nil)))
	resp, err := c.PostForm(p.url, v)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", action, err)
	}
	defer resp.Body.Close()
	var out map[string]any
	if err := json.NewDecoder(resp.Body).Decode(&out); err != nil || resp.StatusCode != 200 {
		return nil, fmt.Errorf("%s: %d %v, %v", action, resp.StatusCode, out, err)
	}
	return out, nil
}
