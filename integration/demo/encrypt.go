package main

import (
	"bytes"
	"context"
	"encoding/base64"
	"fmt"
	"os"
	"strconv"

	"github.com/kmsfs/kmsfs/integration/lab"
)

const keyCipher = "certs/key.pem.cipher"

func (d *demo) startEmulator(context.Context) (string, error) {
	d.later("the emulator", func() error {
		if d.lab == nil {
			return nil
		}
		return d.lab.Stop()
	})
	l, err := lab.Start(d.bin, d.dir, "--generation", strconv.Itoa(d.generation))
	if err != nil {
		return "", err
	}
	d.lab = l
	return fmt.Sprintf("KMS emulator, process %d, on %s", l.EmulatorPID(), l.Endpoint), nil
}

func (d *demo) createKey(context.Context) (string, error) {
	id, err := d.lab.CreateKey()
	if err != nil {
		return "", err
	}
	return "CMK " + id + " is " + lab.Alias, nil
}

// encrypt connects openssl's standard output to kmsfs encrypt's standard
// input. Nobody else has the pipe.
func (d *demo) encrypt(ctx context.Context) (string, error) {
	read, write, err := os.Pipe()
	if err != nil {
		return "", err
	}
	defer read.Close()
	defer write.Close()
	generate := d.tool("openssl", "genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048")
	generate.Stdout = write // its dots on stderr go to /dev/null
	encrypt := d.lab.Command("encrypt", "--key", lab.Alias, "--output", keyCipher, "-")
	encrypt.Stdin = read
	var stderr bytes.Buffer
	encrypt.Stderr = &stderr

	generated, err := start(ctx, generate)
	if err != nil {
		return "", err
	}
	encrypted, err := start(ctx, encrypt)
	read.Close()
	write.Close()
	if err != nil {
		generated() // it gets EPIPE
		return "", err
	}
	generateErr, encryptErr := generated(), encrypted()
	if generateErr != nil {
		return "", failed(generate, generateErr, "")
	}
	if encryptErr != nil {
		return "", failed(encrypt, encryptErr, stderr.String())
	}
	blob, err := os.ReadFile(d.path(keyCipher))
	if err != nil {
		return "", err
	}
	if _, err := base64.StdEncoding.Strict().DecodeString(string(blob)); err != nil {
		return "", fmt.Errorf("%s is not a bare CiphertextBlob: %w", keyCipher, err)
	}
	return fmt.Sprintf("openssl genpkey | kmsfs encrypt - > %s (%d bytes)", keyCipher, len(blob)), nil
}
