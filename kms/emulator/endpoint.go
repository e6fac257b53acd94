package emulator

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"

	"github.com/kmsfs/kmsfs/kms/emulator/account"
)

// endpoint is one of the two addresses of the API: the shared one or, of KMS
// 3.0, an instance's own. Account, keys and signatures are the same at both.
type endpoint struct {
	instance bool
	listener net.Listener
	caPEM    []byte            // of the authority that its clients must trust
	leaf     *x509.Certificate // has its names
}

// openEndpoint listens with a fresh certificate for the names.
func openEndpoint(in *account.Account, by authorityName, address string, names []string) (*endpoint, error) {
	ca, err := loadAuthority(in, by)
	if err != nil {
		return nil, fmt.Errorf("load authority: %w", err) // of class ErrState
	}
	cert, err := ca.serverCertificate(names)
	if err != nil {
		return nil, fmt.Errorf("make certificate: %w", err)
	}
	tcp, err := net.Listen("tcp", address)
	if err != nil {
		return nil, fmt.Errorf("listen for clients: %w", err)
	}
	return &endpoint{
		instance: by == instanceAuthority,
		listener: tls.NewListener(tcp, &tls.Config{
			Certificates: []tls.Certificate{cert},
			MinVersion:   tls.VersionTLS12,
			NextProtos:   []string{"http/1.1"},
		}),
		caPEM: ca.pem(),
		leaf:  cert.Leaf,
	}, nil
}

func (e *endpoint) url() string { return "https://" + e.listener.Addr().String() }

// listen opens the shared endpoint and those that are configured, and writes
// the certificates of the authorities.
func (s *Server) listen(c *Config) (err error) {
	if s.shared, err = openEndpoint(s.account, sharedAuthority, c.listen(), c.names()); err != nil {
		return err
	}
	if c.InstanceListen != "" {
		if s.instance, err = openEndpoint(s.account, instanceAuthority, c.InstanceListen, c.instanceNames()); err != nil {
			return err
		}
	}
	if c.Admin != "" {
		if s.adminListener, err = net.Listen("tcp", c.Admin); err != nil {
			return fmt.Errorf("listen for admin: %w", err)
		}
		// localhost is whatever the resolver says.
		if a, ok := s.adminListener.Addr().(*net.TCPAddr); !ok || !a.IP.IsLoopback() {
			return badConfig("listen for admin on %s: not a loopback address", c.Admin)
		}
	}
	if c.CAOut != "" {
		err = writeFile(c.CAOut, s.shared.caPEM)
	}
	if err == nil && c.InstanceCAOut != "" {
		err = writeFile(c.InstanceCAOut, s.instance.caPEM)
	}
	if err != nil {
		return fmt.Errorf("write certificate: %w", err)
	}
	return nil
}
