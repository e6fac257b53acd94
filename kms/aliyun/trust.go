package aliyun

import (
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/kmsfs/kmsfs/kms/aliyun/scrub"
)

const maxCAFile = 1 << 20

// rootsFrom reads the only authorities to trust. An empty path means the
// system's, and gives nil.
func rootsFrom(path string, allowEmulator bool) (*x509.CertPool, error) {
	if path == "" {
		return nil, nil
	}
	content, err := readRegular(path)
	if err != nil {
		return nil, fmt.Errorf("read ca_file: %w", err)
	}
	pool, found := x509.NewCertPool(), false
	for block, rest := pem.Decode(content); block != nil; block, rest = pem.Decode(rest) {
		if block.Type != "CERTIFICATE" {
			continue
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, errors.New("read ca_file: a certificate in it is malformed")
		}
		if !allowEmulator && testOnly(cert) {
			return nil, fmt.Errorf("read ca_file: %w", scrub.ErrTestOnlyCA)
		}
		pool.AddCert(cert)
		found = true
	}
	if !found {
		return nil, errors.New("read ca_file: no certificate in it")
	}
	return pool, nil
}

// readRegular looks before it opens: opening a FIFO would block for ever.
func readRegular(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		var pe *os.PathError
		if errors.As(err, &pe) {
			pe.Op = "open"
		}
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, errors.New("not a regular file")
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	content, err := io.ReadAll(io.LimitReader(f, maxCAFile+1))
	if err == nil && len(content) > maxCAFile {
		err = fmt.Errorf("longer than %d bytes", maxCAFile)
	}
	return content, err
}

// testOnly looks at the issuer too, so that an emulator's leaf is recognised
// like its authority.
func testOnly(cert *x509.Certificate) bool {
	marked := func(n pkix.Name) bool {
		return slices.ContainsFunc(append([]string{n.CommonName}, n.Organization...), func(s string) bool {
			return strings.Contains(strings.ToUpper(s), "TEST ONLY")
		})
	}
	return marked(cert.Subject) || marked(cert.Issuer)
}

// tlsConfig refuses an emulator's chain at the handshake as well: its
// authority may have been put among the system's roots.
func tlsConfig(roots *x509.CertPool, allowEmulator bool) *tls.Config {
	cfg := &tls.Config{
		RootCAs:            roots,
		MinVersion:         tls.VersionTLS12,
		ClientSessionCache: tls.NewLRUClientSessionCache(8),
	}
	if !allowEmulator {
		cfg.VerifyConnection = func(cs tls.ConnectionState) error {
			for _, chain := range cs.VerifiedChains {
				if slices.ContainsFunc(chain, testOnly) {
					return scrub.ErrTestOnlyCA
				}
			}
			return nil
		}
	}
	return cfg
}
