package emulator

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/kmsfs/kmsfs/kms/emulator/account"
	"github.com/kmsfs/kmsfs/kms/emulator/wire"
)

const (
	// maxHeader bounds the header of a request, in bytes. The longest request
	// line a client is known to send is 19 KB: 6144 bytes of CJK in a GET.
	maxHeader = 64 << 10

	headerTimeout = 10 * time.Second // for TLS and a request's header to arrive
	idleTimeout   = 2 * time.Minute
	stopGrace     = 500 * time.Millisecond // for requests under way at the end
)

// Server is one emulated KMS: one account, one region, one permanent access key.
type Server struct {
	account  *account.Account // nil until it is open
	auth     *wire.Authenticator
	quota    quota
	stats    stats
	faults   faults
	told     once
	oldImage bool // of the instance

	region string
	log    *log.Logger

	shared, instance *endpoint    // the latter nil without an instance
	adminListener    net.Listener // nil without admin
	closeOnce        sync.Once
	closeErr         error
}

// New opens the state file, writes the authorities' certificates and starts to
// listen: clients may connect from now on, and are answered once Serve runs.
// Its errors are of class ErrConfig or ErrState, or come from the system. The
// caller ends with Serve or Close.
func New(c Config) (*Server, error) {
	if err := c.check(); err != nil {
		return nil, err
	}
	s := &Server{log: c.Log, region: c.region(), auth: wire.NewAuthenticator(c.AccessKeyID, c.AccessKeySecret)}
	if s.log == nil {
		s.log = log.New(io.Discard, "", 0)
	}
	s.quota.perSecond = c.QPS
	s.oldImage = c.InstanceImage == "old"
	if err := s.open(&c); err != nil {
		s.Close()
		return nil, err
	}
	return s, nil
}

func (s *Server) open(c *Config) (err error) {
	s.account, err = account.Open(c.State, account.Options{
		Region: c.region(), Generation: c.generation(), BlobLayout: c.BlobLayout,
	})
	if err != nil {
		return err
	}
	s.account.SetInternetAccess(c.InternetAccess != "off")
	return s.listen(c)
}

// URL is where the KMS API is, as https://ADDR.
func (s *Server) URL() string { return s.shared.url() }

// InstanceURL is where the instance is, as https://ADDR; empty without one.
func (s *Server) InstanceURL() string {
	if s.instance == nil {
		return ""
	}
	return s.instance.url()
}

// AdminURL is where the admin server is, as http://ADDR; empty without one.
func (s *Server) AdminURL() string {
	if s.adminListener == nil {
		return ""
	}
	return "http://" + s.adminListener.Addr().String()
}

// CAPEM is the certificate of the authority that clients of URL must trust.
func (s *Server) CAPEM() []byte { return s.shared.caPEM }

// InstanceCAPEM is that for clients of InstanceURL; nil without an instance.
func (s *Server) InstanceCAPEM() []byte {
	if s.instance == nil {
		return nil
	}
	return s.instance.caPEM
}

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
	for _, e := range s.endpoints() {
		add(s.handler(e), e.listener)
	}
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
		for _, e := range s.endpoints() {
			e.listener.Close() // Serve may have closed it already
		}
		if s.adminListener != nil {
			s.adminListener.Close()
		}
		if s.account != nil {
			s.closeErr = s.account.Close()
		}
	})
	return s.closeErr
}

func (s *Server) endpoints() []*endpoint {
	return slices.DeleteFunc([]*endpoint{s.shared, s.instance}, func(e *endpoint) bool { return e == nil })
}

func (s *Server) logf(format string, a ...any) { s.log.Printf(format, a...) }
