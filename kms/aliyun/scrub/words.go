package scrub

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"strconv"
	"strings"
	"syscall"
)

// ErrTestOnlyCA: the authority is an emulator's, and allow_emulator is off.
var ErrTestOnlyCA = errors.New("the authority is marked TEST ONLY and allow_emulator is not set")

// Describe says in our own words why no answer arrived. The error's own text is
// never used: the SDK's and net/http's hold the whole URL, that of a proxy its
// password, that of a parser a piece of the answer.
func Describe(err error, host string) string {
	var (
		dns      *net.DNSError
		unknown  x509.UnknownAuthorityError
		name     x509.HostnameError
		invalid  x509.CertificateInvalidError
		verify   *tls.CertificateVerificationError
		noTLS    tls.RecordHeaderError
		proxy    ProxyRefusal
		op       *net.OpError
		netError net.Error
	)
	switch {
	case errors.As(err, &proxy):
		return "the proxy refused with HTTP status " + StatusText(int(proxy))
	case errors.As(err, &dns):
		if dns.IsNotFound && dns.Name == host {
			return "no such host " + host
		}
		if dns.Name == host {
			return "name lookup of " + host + " failed"
		}
		return "name lookup of the proxy failed"
	case errors.Is(err, ErrTestOnlyCA):
		return "TLS certificate not trusted: " + ErrTestOnlyCA.Error()
	case errors.As(err, &name):
		return "TLS certificate is for another host"
	case errors.As(err, &unknown):
		return "TLS certificate not trusted"
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return "TLS certificate has expired or is not valid yet"
	case errors.As(err, &invalid), errors.As(err, &verify):
		return "TLS certificate not trusted"
	case errors.As(err, &noTLS), textIs(err, "http: server gave HTTP response to HTTPS client"):
		return "the server does not speak TLS"
	case errors.Is(err, syscall.ECONNREFUSED):
		return "connection refused"
	case errors.Is(err, syscall.ENETUNREACH), errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.ENETDOWN):
		return "network unreachable"
	case errors.Is(err, syscall.EACCES), errors.Is(err, syscall.EPERM):
		return "connection not permitted by this machine"
	case ConnectionClosed(err):
		return "connection closed"
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &netError) && netError.Timeout():
		return "timed out"
	case errors.As(err, &op) && (op.Op == "remote error" || op.Op == "local error"), textHas(err, "tls: "):
		return "TLS handshake failed"
	}
	return "connection failed"
}

// ConnectionClosed recognises a peer that went away. net/http's own error for
// an idle connection that was closed under a request has no exported value.
func ConnectionClosed(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) ||
		errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) ||
		errors.Is(err, syscall.ECONNABORTED) || errors.Is(err, net.ErrClosed) ||
		textHas(err, "server closed idle connection")
}

func textIs(err error, text string) bool  { return err != nil && err.Error() == text }
func textHas(err error, text string) bool { return err != nil && strings.Contains(err.Error(), text) }

// ProxyRefusal is the status with which a proxy declined to connect.
type ProxyRefusal int

func (p ProxyRefusal) Error() string { return "proxy refused: " + StatusText(int(p)) }

// StatusText is an HTTP status as digits: the server's own text for it may be
// anything.
func StatusText(status int) string { return strconv.Itoa(status) }
