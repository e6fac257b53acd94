package emulator

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"sync"
	"time"
)

const (
	headerTimeout = 10 * time.Second // for TLS and a request's header to arrive
	idleTimeout   = 2 * time.Minute
	stopGrace     = 500 * time.Millisecond // for requests under way at the end
)

// Server is one emulated KMS: one account, one region, one permanent access key.
type Server struct {
	account account
	auth    authenticator
	quota   quota
	stats   stats
	faults  faults

	caPEM []byte
	log   *log.Logger

	listener, adminListener net.Listener // the latter nil without admin
	closeOnce               sync.Once
	closeErr                error
}

// New opens the state file, writes the authority's certificate and starts to
// listen: clients may connect from now on, and are answered once Serve runs.
// Its errors are of class ErrConfig or ErrState, or come from the system. The
// caller ends with Serve or Close.
func New(c Config) (*Server, error) {
	if err := c.check(); err != nil {
		return nil, err
	}
	s := &Server{log: c.Log}
	if s.log == nil {
		s.log = log.New(io.Discard, "", 0)
	}
	s.quota.perSecond = c.QPS
	s.auth.accessKeyID, s.auth.accessKeySecret = c.AccessKeyID, c.AccessKeySecret
	if err := s.open(&c); err != nil {
		s.Close()
		return nil, err
	}
	return s, nil
}

func (s *Server) open(c *Config) error {
	db, err := openState(c.State)
	if err != nil {
		return err
	}
	s.account.region, s.account.generation, s.account.db, s.account.sealer = c.region(), c.generation(), db, c.sealer()
	if err := claimRegion(db, c.State, c.region()); err != nil {
		return err
	}
	ca, err := loadAuthority(db)
	if err != nil {
		return &stateError{fmt.Errorf("load authority: %w", err)}
	}
	s.caPEM = ca.pem()
	cert, err := ca.serverCertificate(c.names())
	if err != nil {
		return fmt.Errorf("make certificate: %w", err)
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
	tcp, err := net.Listen("tcp", c.listen())
	if err != nil {
		return fmt.Errorf("listen for clients: %w", err)
	}
	s.listener = tls.NewListener(tcp, &tls.Config{
		Certificates: []tls.Certificate{cert},
		MinVersion:   tls.VersionTLS12,
		NextProtos:   []string{"http/1.1"},
	})
	if c.CAOut != "" {
		if err := writeFile(c.CAOut, s.caPEM); err != nil {
			return fmt.Errorf("write certificate: %w", err)
		}
	}
	return nil
}

// URL is where the KMS API is, as https://ADDR.
func (s *Server) URL() string { return "https://" + s.listener.Addr().String() }

// AdminURL is where the admin server is, as http://ADDR; empty without one.
func (s *Server) AdminURL() string {
	if s.adminListener == nil {
		return ""
	}
	return "http://" + s.adminListener.Addr().String()
}

// CAPEM is the certificate of the authority that clients must trust.
func (s *Server) CAPEM() []byte { return s.caPEM }

// Serve answers until ctx ends, then gives requests under way half a second,
// and closes everything. Requests that a fault holds end without an answer.
// It returns nil after an orderly end.
func (s *Server) Serve(ctx context.Context) error {
	defer s.Close()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()

	var protocols http.Protocols
	protocols.SetHTTP1(true)
	serve := map[*http.Server]net.Listener{}
	add := func(h http.Handler, l net.Listener) {
		serve[&http.Server{
			Handler:           h,
			Protocols:         &protocols,
			MaxHeaderBytes:    maxHeader,
			ReadHeaderTimeout: headerTimeout,
			IdleTimeout:       idleTimeout,
			ErrorLog:          s.log,
			BaseContext:       func(net.Listener) context.Context { return ctx },
		}] = l
	}
	add(http.HandlerFunc(s.handle), s.listener)
	if s.adminListener != nil {
		add(s.adminHandler(), s.adminListener)
	}

	var wg sync.WaitGroup
	failed := make(chan error, len(serve))
	for h, l := range serve {
		wg.Go(func() {
			if err := h.Serve(l); !errors.Is(err, http.ErrServerClosed) {
				failed <- fmt.Errorf("accept clients: %w", err)
			}
		})
	}
	var err error
	select {
	case <-ctx.Done():
	case err = <-failed:
		cancel() // releases what a fault holds
	}
	grace, done := context.WithTimeout(context.WithoutCancel(ctx), stopGrace)
	defer done()
	for h := range serve {
		wg.Go(func() {
			if h.Shutdown(grace) != nil {
				h.Close()
			}
		})
	}
	wg.Wait()
	if closeErr := s.Close(); err == nil {
		err = closeErr
	}
	return err
}

// Close stops listening and closes the state file. It is for a Server that
// never served; Serve does it itself.
func (s *Server) Close() error {
	s.closeOnce.Do(func() {
		for _, l := range []net.Listener{s.listener, s.adminListener} {
			if l != nil {
				l.Close() // Serve may have closed it already
			}
		}
		if s.account.db != nil {
			s.closeErr = s.account.db.Close()
		}
	})
	return s.closeErr
}

func (s *Server) logf(format string, a ...any) { s.log.Printf(format, a...) }
