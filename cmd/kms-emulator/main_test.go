package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha1"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/kmsfs/kmsfs/kms"
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

// Whatever was answered before SIGKILL is there after it, and the certificate
// that clients hold stays good.
func TestSurvivesSIGKILL(t *testing.T) {
	dir := t.TempDir()
	p := start(t, dir)
	c := client(t, filepath.Join(dir, "ca.pem"))
	keyID := p.call(c, "CreateKey")["KeyMetadata"].(map[string]any)["KeyId"].(string)
	blob := p.call(c, "Encrypt", "KeyId", keyID, "Plaintext", "root")["CiphertextBlob"].(string)
	p.call(c, "CreateAlias", "AliasName", "alias/a", "KeyId", keyID)
	if code := p.end(syscall.SIGKILL); code != -1 {
		t.Errorf("exit status %d", code)
	}
	p = start(t, dir)
	if got := p.call(c, "Decrypt", "CiphertextBlob", blob); got["Plaintext"] != "root" || got["KeyId"] != keyID {
		t.Errorf("got %v", got)
	}
	if got := p.call(c, "Encrypt", "KeyId", "alias/a", "Plaintext", "x"); got["KeyId"] != keyID {
		t.Errorf("alias names %v", got["KeyId"])
	}
	if code := p.end(syscall.SIGTERM); code != 0 {
		t.Errorf("exit status %d after SIGTERM", code)
	}
}

// A kill in the middle of changes loses nothing that was answered.
func TestSurvivesSIGKILLUnderLoad(t *testing.T) {
	dir := t.TempDir()
	p := start(t, dir)
	c := client(t, filepath.Join(dir, "ca.pem"))
	answered := make(chan string, 1000)
	var clients sync.WaitGroup
	for range 4 {
		clients.Go(func() {
			for range cap(answered) / 4 {
				out, err := p.try(c, "CreateKey")
				if err != nil {
					return // killed
				}
				answered <- out["KeyMetadata"].(map[string]any)["KeyId"].(string)
			}
		})
	}
	go func() {
		clients.Wait()
		close(answered)
	}()
	var ids []string
	for id := range answered {
		if ids = append(ids, id); len(ids) == 25 {
			p.end(syscall.SIGKILL)
		}
	}
	if len(ids) < 25 {
		t.Fatalf("%d keys made", len(ids))
	}
	p = start(t, dir)
	for _, id := range ids {
		p.call(c, "Encrypt", "KeyId", id, "Plaintext", "x")
	}
}

// A state file is opened in the region that it was made in, and the layout of
// new ciphertext may change from start to start.
func TestRegionAndLayout(t *testing.T) {
	dir := t.TempDir()
	p := start(t, dir, "--region", "cn-beijing", "--blob-layout", "2019", "--qps", "1000")
	c := client(t, filepath.Join(dir, "ca.pem"))
	keyID := p.call(c, "CreateKey")["KeyMetadata"].(map[string]any)["KeyId"].(string)
	old := p.call(c, "Encrypt", "KeyId", keyID, "Plaintext", "root")["CiphertextBlob"].(string)
	p.end(syscall.SIGTERM)

	var stderr bytes.Buffer
	env := func(string) string { return "x" }
	args := []string{"--listen", "127.0.0.1:0", "--state", filepath.Join(dir, "state.db"), "--ca-out", filepath.Join(dir, "ca.pem")}
	code := run(t.Context(), args, env, io.Discard, &stderr)
	want := "kms-emulator: open state: " + filepath.Join(dir, "state.db") + " belongs to region cn-beijing, not cn-hangzhou\nhint: "
	if code != 1 || !strings.HasPrefix(stderr.String(), want) {
		t.Errorf("exit status %d, stderr:\n%s", code, stderr.String())
	}
	p = start(t, dir, "--region", "cn-beijing")
	now := p.call(c, "Encrypt", "KeyId", keyID, "Plaintext", "root")["CiphertextBlob"].(string)
	for text, layout := range map[string]kms.Layout{old: kms.LayoutNested, now: kms.LayoutCurrent} {
		if b, err := kms.ParseBlob([]byte(text)); err != nil || b.Layout != layout {
			t.Errorf("layout %v, %v; want %v", b.Layout, err, layout)
		}
		if got := p.call(c, "Decrypt", "CiphertextBlob", text)["Plaintext"]; got != "root" {
			t.Errorf("layout %v: got %v", layout, got)
		}
	}
}

// SIGTERM and SIGINT end the program at once, also while a request hangs.
func TestEndsOnSignals(t *testing.T) {
	for _, s := range []os.Signal{syscall.SIGTERM, syscall.SIGINT} {
		dir := t.TempDir()
		p := start(t, dir, "--region", "cn-beijing", "--san", "kms.internal", "--san", "192.0.2.1")
		c := client(t, filepath.Join(dir, "ca.pem"))
		resp, err := http.Post(p.admin+"/faults", "application/json", strings.NewReader(`{"hang":true}`))
		if err != nil || resp.StatusCode != 200 {
			t.Fatalf("%v, %v", resp, err)
		}
		resp.Body.Close()
		hung := make(chan error, 1)
		go func() {
			resp, err := c.Get(p.url)
			if err == nil {
				resp.Body.Close()
			}
			hung <- err
		}()
		for deadline := time.Now().Add(10 * time.Second); ; {
			resp, err := http.Get(p.admin + "/faults")
			if err != nil {
				t.Fatal(err)
			}
			b, _ := io.ReadAll(resp.Body)
			resp.Body.Close()
			if strings.Contains(string(b), `"waiting":1`) {
				break
			} else if time.Now().After(deadline) {
				t.Fatalf("nothing hangs: %s", b)
			}
		}
		if code := p.end(s); code != 0 {
			t.Errorf("exit status %d after %v; stderr:\n%s", code, s, p.stderr.String())
		}
		if err := <-hung; err == nil {
			t.Error("a hanging request was answered")
		}
		if got := p.stderr.String(); got != "kms-emulator: for development and tests only, its keys are not protected\n" {
			t.Errorf("stderr:\n%s", got)
		}
	}
}

func TestRefuses(t *testing.T) {
	busy, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer busy.Close()
	env := func(name string) string { return map[string]string{envID: id, envSecret: secret}[name] }
	for _, c := range []struct {
		name   string
		args   string // DIR stands for an empty directory
		getenv func(string) string
		code   int
		says   string
	}{
		{"no state", "--ca-out DIR/ca.pem", env, 2, "kms-emulator: parse flags: --state is missing\n"},
		{"no ca-out", "--state DIR/s", env, 2, "kms-emulator: parse flags: --ca-out is missing\n"},
		{"bad flag", "--colour red", env, 2, "kms-emulator: parse flags: flag provided but not defined: -colour\n"},
		{"argument", "--state DIR/s --ca-out DIR/ca.pem serve", env, 2, "kms-emulator: parse flags: unexpected argument \"serve\"\n"},
		{"no access key", "--state DIR/s --ca-out DIR/ca.pem", func(string) string { return "" }, 2,
			"kms-emulator: read environment: ALIBABA_CLOUD_ACCESS_KEY_ID is not set\n"},
		{"no secret", "--state DIR/s --ca-out DIR/ca.pem", func(name string) string { return strings.TrimSuffix(env(name), secret) }, 2,
			"kms-emulator: read environment: ALIBABA_CLOUD_ACCESS_KEY_SECRET is not set\n"},
		{"open admin", "--state DIR/s --ca-out DIR/ca.pem --admin 0.0.0.0:0", env, 2,
			"kms-emulator: listen for admin on 0.0.0.0:0: not a loopback address\n"},
		{"bad region", "--state DIR/s --ca-out DIR/ca.pem --region /", env, 2,
			"kms-emulator: choose region: \"/\" is not the name of a region\n"},
		{"bad layout", "--state DIR/s --ca-out DIR/ca.pem --blob-layout 2018", env, 2,
			"kms-emulator: choose blob layout: \"2018\" is neither current nor 2019\n"},
		{"bad qps", "--state DIR/s --ca-out DIR/ca.pem --qps -1", env, 2, "kms-emulator: limit calls: -1 per second is below 0\n"},
		{"state is a directory", "--state DIR --ca-out DIR/ca.pem", env, 1, "kms-emulator: open state: "},
		{"port in use", "--listen " + busy.Addr().String() + " --state DIR/s --ca-out DIR/ca.pem", env, 1,
			"kms-emulator: listen for clients: listen tcp " + busy.Addr().String() + ": bind: address already in use\n"},
		{"nowhere to write", "--listen 127.0.0.1:0 --state DIR/s --ca-out DIR/no/ca.pem", env, 1, "kms-emulator: write certificate: "},
	} {
		t.Run(c.name, func(t *testing.T) {
			args := strings.Fields(strings.ReplaceAll(c.args, "DIR", t.TempDir()))
			ctx, cancel := context.WithCancel(t.Context())
			cancel() // should it serve after all, it ends
			var stdout, stderr bytes.Buffer
			code := run(ctx, args, c.getenv, &stdout, &stderr)
			said := stderr.String()
			if code != c.code || !strings.HasPrefix(said, c.says) || stdout.Len() > 0 {
				t.Errorf("exit status %d, stdout %q, stderr:\n%s", code, stdout.String(), said)
			}
			if lines := strings.Split(said, "\n"); len(lines) != 3 || !strings.HasPrefix(lines[1], "hint: ") {
				t.Errorf("not a message and a hint:\n%s", said)
			}
			if strings.Contains(said, secret) {
				t.Error("the secret is printed")
			}
		})
	}
}

func TestHelp(t *testing.T) {
	for _, flag := range []string{"--help", "-h"} {
		var stdout, stderr bytes.Buffer
		code := run(t.Context(), []string{flag}, os.Getenv, &stdout, &stderr)
		if code != 0 || stdout.String() != help || stderr.Len() > 0 {
			t.Errorf("%s: exit status %d, stderr %q", flag, code, stderr.String())
		}
	}
	if !strings.Contains(help, "development and tests") {
		t.Error("it does not say what it is for")
	}
}

type brokenPipe struct{}

func (brokenPipe) Write([]byte) (int, error) { return 0, errors.New("broken pipe") }

// Nobody would learn the address.
func TestCannotPrint(t *testing.T) {
	dir := t.TempDir()
	var stderr bytes.Buffer
	code := run(t.Context(), []string{"--listen", "127.0.0.1:0", "--state", dir + "/s", "--ca-out", dir + "/ca.pem"},
		func(string) string { return "x" }, brokenPipe{}, &stderr)
	if code != 1 || !strings.Contains(stderr.String(), "kms-emulator: print address: broken pipe\nhint: ") {
		t.Errorf("exit status %d, stderr:\n%s", code, stderr.String())
	}
}
