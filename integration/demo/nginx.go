package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// nginxConf keeps everything that nginx writes in its own directory.
const nginxConf = `error_log "DIR/error.log" notice;
pid "DIR/pid";
worker_processes 1;
events {}
http {
	access_log off;
	client_body_temp_path "DIR/body";
	proxy_temp_path "DIR/proxy";
	fastcgi_temp_path "DIR/fastcgi";
	uwsgi_temp_path "DIR/uwsgi";
	scgi_temp_path "DIR/scgi";
	server {
		listen 127.0.0.1:PORT ssl;
		ssl_protocols TLSv1.2 TLSv1.3;
		ssl_certificate "TOP/cert.pem";
		ssl_certificate_key "TOP/mnt/key.pem";
		location / { return 200 "the key of this server was never a file\n"; }
	}
}
`

// findNginx looks where Debian puts it, too: /usr/sbin is not in everybody's
// PATH.
func findNginx() (string, error) {
	if path, err := exec.LookPath("nginx"); err == nil {
		return path, nil
	}
	return exec.LookPath("/usr/sbin/nginx")
}

func (d *demo) startNginx(ctx context.Context) (string, error) {
	program, err := findNginx()
	if err != nil {
		return "", err
	}
	if d.port, err = freePort(); err != nil {
		return "", err
	}
	conf := strings.NewReplacer("DIR", d.path("nginx"), "TOP", d.dir, "PORT", strconv.Itoa(d.port)).Replace(nginxConf)
	if err := os.WriteFile(d.path("nginx/nginx.conf"), []byte(conf), 0o600); err != nil {
		return "", err
	}
	cmd := exec.Command(program, "-p", d.path("nginx"), "-c", d.path("nginx/nginx.conf"), "-e", d.path("nginx/error.log"), "-g", "daemon off;")
	cmd.Dir = d.dir
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "LC_ALL=C"}
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	ownGroup(cmd, syscall.SIGTERM) // nginx ends its workers on that
	ended := make(chan error, 1)
	d.later("nginx", func() error { return endNginx(cmd, ended) })
	if err := cmd.Start(); err != nil {
		return "", err
	}
	go func() { ended <- cmd.Wait(); close(ended) }()
	address := net.JoinHostPort("127.0.0.1", strconv.Itoa(d.port))
	err = until(ctx, "connect to nginx", func() (bool, error) {
		select {
		case err := <-ended:
			return false, failed(cmd, or(err, errors.New("ended")), stderr.String())
		default:
		}
		conn, err := net.DialTimeout("tcp", address, time.Second)
		if err != nil {
			return false, nil
		}
		return true, conn.Close()
	})
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("%s -c nginx/nginx.conf, process %d, on %s", filepath.Base(program), cmd.Process.Pid, address), nil
}

func or(err, otherwise error) error {
	if err != nil {
		return err
	}
	return otherwise
}

func endNginx(cmd *exec.Cmd, ended <-chan error) error {
	if cmd.Process == nil {
		return nil // it was not even started
	}
	cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-ended:
		return nil
	case <-time.After(patience):
	}
	// The workers are in the group as well.
	syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
	<-ended
	return nil
}

func freePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port, nil
}

// handshake trusts the certificate and nothing else, and compares its key with
// the public part of what the mount serves.
func (d *demo) handshake(ctx context.Context) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	pem, err := os.ReadFile(d.path("cert.pem"))
	if err != nil {
		return "", err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		return "", errors.New("cert.pem holds no certificate")
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{RootCAs: roots}}}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, fmt.Sprintf("https://127.0.0.1:%d/", d.port), nil)
	if err != nil {
		return "", err
	}
	resp, err := client.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 1<<10))
	if err != nil {
		return "", err
	}
	public, err := output(ctx, d.tool("openssl", "pkey", "-in", "mnt/key.pem", "-pubout", "-outform", "DER"))
	if err != nil {
		return "", err
	}
	if !bytes.Equal(resp.TLS.PeerCertificates[0].RawSubjectPublicKeyInfo, []byte(public)) {
		return "", errors.New("nginx serves another key than the mount")
	}
	calls, err := d.lab.Calls()
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("%s, %s, with the key of mnt/key.pem\nGET / → %s\nDecrypt calls so far: %d",
		tls.VersionName(resp.TLS.Version), tls.CipherSuiteName(resp.TLS.CipherSuite), strings.TrimSpace(string(body)), calls["Decrypt"]), nil
}
