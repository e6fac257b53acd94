package cloudtest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// The library asks the metadata service at its one fixed address and STS at its
// real names. So the tests that let it are processes in a network of their own,
// where the only interface is loopback, the address is ours, and the names lead
// to a server of ours with a certificate that such a process trusts.

// cloudNames lead to 127.0.0.1 there.
var cloudNames = []string{
	"sts.aliyuncs.com", "sts.cn-test.aliyuncs.com", "sts-vpc.cn-test.aliyuncs.com", "oauth.aliyun.com",
	"kms.cn-test.aliyuncs.com", "signin.example", "uri.example",
}

const aloneEnv = "KMSFS_TEST_ALONE"

// Alone runs the calling test once more in such a process, and returns true in
// that process. Other tests may run at the same time.
func Alone(t *testing.T) bool {
	t.Helper()
	if os.Getenv(aloneEnv) == "" {
		t.Parallel()
	}
	return AloneNow(t)
}

// AloneNow is Alone while no other test runs.
func AloneNow(t *testing.T) bool {
	t.Helper()
	if os.Getenv(aloneEnv) != "" {
		return true
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self, "-test.v", "-test.run=^"+t.Name()+"$", "-test.timeout=2m")
	cmd.Env = []string{aloneEnv + "=1", "TMPDIR=" + t.TempDir(), "PATH=" + os.Getenv("PATH")}
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET | syscall.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL}
	out, err := cmd.CombinedOutput()
	if errors.Is(err, syscall.EPERM) {
		if os.Getenv("CI") != "" {
			t.Fatalf("a network namespace is needed here: %v", err)
		}
		t.Skipf("SKIPPED, NOT TESTED: a network namespace is needed (%v)", err)
	}
	if err != nil || !strings.Contains(string(out), "--- PASS: "+t.Name()) {
		t.Errorf("%v:\n%s", err, out)
	} else if testing.Verbose() {
		t.Logf("%s", out)
	}
	return false
}

// aloneCertificate is what the servers there show.
var aloneCertificate tls.Certificate

// Isolate is for TestMain: nothing of the machine's configuration reaches the
// tests. In the process of a test that is alone it makes the network. After an
// error no test may run: outside of a namespace of its own nothing may speak to
// these addresses.
func Isolate() error {
	os.Setenv("ALIBABA_CLOUD_ECS_METADATA_DISABLED", "true")
	os.Setenv("HOME", "")
	for _, name := range []string{
		"DEBUG", "GODEBUG", "SSL_CERT_FILE", "SSL_CERT_DIR",
		"HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "NO_PROXY", "no_proxy",
	} {
		os.Unsetenv(name)
	}
	if os.Getenv(aloneEnv) == "" {
		return nil
	}
	interfaces, err := net.Interfaces()
	if err != nil {
		return err
	}
	for _, i := range interfaces {
		if i.Flags&net.FlagUp != 0 {
			return fmt.Errorf("interface %s is up: this is no network of our own", i.Name)
		}
	}
	s, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(s)
	lo, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	lo.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	if err := unix.IoctlIfreq(s, unix.SIOCSIFFLAGS, lo); err != nil {
		return err
	}
	second, err := unix.NewIfreq("lo:1")
	if err != nil {
		return err
	}
	if err := second.SetInet4Addr(net.ParseIP(MetadataHost).To4()); err != nil {
		return err
	}
	if err := unix.IoctlIfreq(s, unix.SIOCSIFADDR, second); err != nil {
		return err
	}
	certificate, root, err := newAuthority()
	if err != nil {
		return err
	}
	aloneCertificate = certificate
	ca, hosts := filepath.Join(os.TempDir(), "ca.pem"), filepath.Join(os.TempDir(), "hosts")
	if err := errors.Join(
		os.WriteFile(ca, root, 0o600),
		os.WriteFile(hosts, []byte("127.0.0.1 localhost "+strings.Join(cloudNames, " ")+"\n"), 0o644),
		syscall.Mount("", "/", "", syscall.MS_REC|syscall.MS_PRIVATE, ""),
		syscall.Mount(hosts, "/etc/hosts", "", syscall.MS_BIND, ""),
	); err != nil {
		return err
	}
	os.Setenv("SSL_CERT_FILE", ca)
	// Metadata must not go through a proxy, so here is one that cannot work.
	os.Setenv("HTTP_PROXY", "http://canary:canary@127.0.0.1:9")
	os.Unsetenv("ALIBABA_CLOUD_ECS_METADATA_DISABLED")
	return nil
}

func newAuthority() (tls.Certificate, []byte, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, nil, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "a cloud of our own"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, DNSNames: cloudNames,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key},
		pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), err
}

// Listen serves h at an address in the network of our own until the test ends.
func Listen(t *testing.T, addr string, h http.HandlerFunc) {
	t.Helper()
	l, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	if strings.HasSuffix(addr, ":443") {
		l = tls.NewListener(l, &tls.Config{Certificates: []tls.Certificate{aloneCertificate}})
	}
	s := &http.Server{Handler: h, ErrorLog: log.New(io.Discard, "", 0)}
	var wg sync.WaitGroup
	wg.Go(func() { s.Serve(l) })
	t.Cleanup(func() { s.Close(); wg.Wait() })
}
