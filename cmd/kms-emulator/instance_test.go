package main

import (
	"bytes"
	"io"
	"net/http"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// The flags of generation 3: keys of both lengths, the instance's endpoint with
// its authority and names, the switch, and a lacking action named once.
func TestGeneration3(t *testing.T) {
	dir := t.TempDir()
	p := start(t, dir, "--generation", "3", "--internet-access=off", "--instance-listen", "127.0.0.1:0",
		"--instance-ca-out", filepath.Join(dir, "instance-ca.pem"), "--instance-san", "kst.internal")
	shared, instance := client(t, filepath.Join(dir, "ca.pem")), client(t, filepath.Join(dir, "instance-ca.pem"))
	at := &process{t: t, url: p.instance}
	for _, length := range []int{25, 26} {
		key := p.call(shared, "CreateKey")["KeyMetadata"].(map[string]any)
		keyID := key["KeyId"].(string)
		if len(keyID) != length || key["DKMSInstanceId"] != "kst-hzz0emulator0example0" {
			t.Errorf("made %v", key)
		}
		if _, err := p.try(shared, "Encrypt", "KeyId", keyID, "Plaintext", "x"); err == nil || !strings.Contains(err.Error(), "UnsupportedOperation") {
			t.Errorf("with the switch off: %v", err)
		}
		blob := at.call(instance, "Encrypt", "KeyId", keyID, "Plaintext", "x")["CiphertextBlob"].(string)
		if got := at.call(instance, "Decrypt", "CiphertextBlob", blob)["Plaintext"]; got != "x" {
			t.Errorf("got %v", got)
		}
	}
	if _, err := at.try(shared, "ListKeys"); err == nil || !strings.Contains(err.Error(), "unknown authority") {
		t.Errorf("with the other authority: %v", err)
	}
	named := client(t, filepath.Join(dir, "instance-ca.pem"))
	named.Transport.(*http.Transport).TLSClientConfig.ServerName = "kst.internal"
	at.call(named, "ListKeys")
	for range 2 {
		if _, err := p.try(shared, "GetSecretValue", "SecretName", "x"); err == nil || !strings.Contains(err.Error(), "Emulator.NotEmulated") {
			t.Errorf("a lacking action: %v", err)
		}
	}
	if code := p.end(syscall.SIGTERM); code != 0 {
		t.Errorf("exit status %d", code)
	}
	const line = "kms-emulator: GetSecretValue is an action of KMS that this emulator does not have; it answers Emulator.NotEmulated\n"
	if got := p.stderr.String(); strings.Count(got, line) != 1 || strings.Count(got, "GetSecretValue") != 1 {
		t.Errorf("stderr:\n%s", got)
	}
}

func TestInstanceFlagsRefused(t *testing.T) {
	for args, says := range map[string]string{
		"--generation 2":                                         "kms-emulator: choose generation: 2 is neither 1 nor 3\n",
		"--generation 3 --blob-layout 2019":                      "kms-emulator: choose blob layout: keys of generation 3 never had that of 2019\n",
		"--internet-access maybe":                                "kms-emulator: choose internet access: \"maybe\" is neither on nor off\n",
		"--instance-listen 127.0.0.1:0":                          "kms-emulator: parse flags: --instance-ca-out is missing\n",
		"--instance-ca-out DIR/i.pem":                            "kms-emulator: play instance: it has no address to listen on\n",
		"--instance-image old":                                   "kms-emulator: play instance: it has no address to listen on\n",
		"--instance-listen 8445 --instance-ca-out DIR/i.pem":     "kms-emulator: listen for instance on 8445: not an address such as 127.0.0.1:8445\n",
		"--instance-listen 127.0.0.1:0 --instance-ca-out DIR/ca": "kms-emulator: write certificate: DIR/ca cannot hold both authorities\n",
	} {
		dir := t.TempDir()
		args = strings.ReplaceAll("--listen 127.0.0.1:0 --state DIR/s --ca-out DIR/ca "+args, "DIR", dir)
		var stderr bytes.Buffer
		code := run(t.Context(), strings.Fields(args), func(string) string { return "x" }, io.Discard, &stderr)
		if want := strings.ReplaceAll(says, "DIR", dir); code != 2 || !strings.HasPrefix(stderr.String(), want+"hint: ") {
			t.Errorf("%s: exit status %d, stderr:\n%s", args, code, stderr.String())
		}
	}
}
