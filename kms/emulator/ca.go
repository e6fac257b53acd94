package emulator

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
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"

	"github.com/kmsfs/kmsfs/kms/emulator/account"
)

// authorityName is what an authority is called: in the state file, and in the
// common name of its certificate. Clients that refuse test authorities look for
// the last two words there.
type authorityName struct{ record, common string }

// Neither signs for the other's endpoint, so that a client that trusts the
// wrong one is refused.
var (
	sharedAuthority   = authorityName{"ca", "kmsfs emulator TEST ONLY"}
	instanceAuthority = authorityName{"instance-ca", "kmsfs emulator instance TEST ONLY"}
)

const (
	caLife     = 10 * 365 * 24 * time.Hour
	serverLife = 365 * 24 * time.Hour
	clockSlack = time.Hour // for clients whose clock is behind
)

// authority signs server certificates. It lives in the state file and nowhere
// else, so the certificate that clients were given stays valid across
// restarts.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// loadAuthority returns an authority of the state file, making one on first
// use and when the old one can no longer outlive a server certificate.
func loadAuthority(in *account.Account, name authorityName) (*authority, error) {
	var a *authority
	certRecord, keyRecord := []byte(name.record+"-cert"), []byte(name.record+"-key")
	err := in.UpdateMeta(func(meta account.Records) (err error) {
		certDER, keyDER := meta.Get(certRecord), meta.Get(keyRecord)
		if certDER != nil && keyDER != nil {
			if a, err = parseAuthority(certDER, keyDER); err != nil {
				return err
			}
			if time.Now().Add(serverLife).Before(a.cert.NotAfter) {
				return nil
			}
		}
		if certDER, keyDER, err = makeAuthority(name.common); err != nil {
			return err
		}
		if err := meta.Put(certRecord, certDER); err != nil {
			return err
		}
		if err := meta.Put(keyRecord, keyDER); err != nil {
			return err
		}
		a, err = parseAuthority(certDER, keyDER)
		return err
	})
	return a, err
}

func parseAuthority(certDER, keyDER []byte) (*authority, error) {
	// The parsers keep what they are given, and a transaction's memory ends
	// with it.
	cert, err := x509.ParseCertificate(append([]byte(nil), certDER...))
	if err != nil {
		return nil, err
	}
	parsed, err := x509.ParsePKCS8PrivateKey(append([]byte(nil), keyDER...))
	if err != nil {
		return nil, err
	}
	key, ok := parsed.(*ecdsa.PrivateKey)
	if !ok {
		return nil, errors.New("the authority's key is not ECDSA")
	}
	return &authority{cert, key}, nil
}

func makeAuthority(commonName string) (certDER, keyDER []byte, err error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	now := time.Now()
	template := &x509.Certificate{
		SerialNumber:          serialNumber(),
		Subject:               pkix.Name{CommonName: commonName, Organization: []string{"TEST ONLY"}},
		NotBefore:             now.Add(-clockSlack),
		NotAfter:              now.Add(caLife),
		IsCA:                  true,
		MaxPathLenZero:        true,
		BasicConstraintsValid: true,
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	if certDER, err = x509.CreateCertificate(rand.Reader, template, template, key.Public(), key); err != nil {
		return nil, nil, err
	}
	keyDER, err = x509.MarshalPKCS8PrivateKey(key)
	return certDER, keyDER, err
}

// serverCertificate makes a certificate for the given host names and IP
// addresses. Its key is never stored.
func (a *authority) serverCertificate(names []string) (tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, err
	}
	now := time.Now()
	template := &x509.Certificate{
		SerialNumber: serialNumber(),
		Subject:      pkix.Name{CommonName: "kmsfs emulator", Organization: []string{"TEST ONLY"}},
		NotBefore:    now.Add(-clockSlack),
		NotAfter:     now.Add(serverLife),
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	for _, name := range names {
		if ip := net.ParseIP(name); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, name)
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, key.Public(), a.key)
	if err != nil {
		return tls.Certificate{}, err
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return tls.Certificate{}, err
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}, nil
}

// pem is the authority's certificate as clients load it.
func (a *authority) pem() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.cert.Raw})
}

func serialNumber() *big.Int {
	var b [16]byte
	rand.Read(b[:]) // never fails
	b[0] &= 0x7f    // positive
	return new(big.Int).SetBytes(b[:])
}

// writeFile replaces a public file in one step: readers see the old content or
// all of the new.
func writeFile(path string, content []byte) error {
	if fi, err := os.Stat(path); err == nil && !fi.Mode().IsRegular() {
		return fmt.Errorf("%s is not a regular file", path) // say, /dev/stdout
	}
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // fails after the rename, as it should
	_, err = f.Write(content)
	if err == nil {
		err = f.Chmod(0o644)
	}
	if err == nil {
		err = f.Sync()
	}
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	return err
}
