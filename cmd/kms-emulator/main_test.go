package main

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

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
	for text, want := range map[string]int{old: 36 + (24+8+4+16+2)/3*4, now: 36 + 12 + 4 + 16} {
		if raw, err := base64.StdEncoding.DecodeString(text); err != nil || len(raw) != want {
			t.Errorf("%d bytes, %v; want %d", len(raw), err, want)
		}
		if got := p.call(c, "Decrypt", "CiphertextBlob", text)["Plaintext"]; got != "root" {
			t.Errorf("%d bytes: got %v", want, got)
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
