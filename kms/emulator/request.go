package emulator

import (
	"crypto/tls"
	"errors"
	"net/http"
	"time"

	"github.com/kmsfs/kmsfs/kms/emulator/account"
	"github.com/kmsfs/kmsfs/kms/emulator/wire"
)

const kmsVersion = "2016-01-20"

// handler answers the requests of an endpoint.
func (s *Server) handler(at *endpoint) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { s.handle(at, w, r) })
}

// handle answers one request of the API. A fault comes before anything is
// looked at but the name of the action, and faulted calls are counted too.
func (s *Server) handle(at *endpoint, w http.ResponseWriter, r *http.Request) {
	c, parseErr := wire.ReadCall(w, r)
	s.stats.count(c.Action)

	f, cleared := s.faults.take(c.Action)
	if f != nil {
		switch s.faults.wait(r.Context(), f, cleared) {
		case released:
			f = nil
		case left:
			panic(http.ErrAbortHandler)
		}
	}
	if f == nil {
		s.answer(at, c, parseErr).Send(w, -1)
		return
	}
	switch {
	case f.Close:
		cutConnection(w, nil)
		return
	case f.TLS == "cut":
		// The head of a record of application data that promises 512
		// bytes, and a few of them.
		cutConnection(w, append([]byte{23, 3, 3, 2, 0}, "cut short here"...))
		return
	}
	a := s.faultAnswer(f, c)
	if a == nil {
		a = s.answer(at, c, parseErr)
	}
	cut := -1
	if f.Truncate != nil {
		cut = *f.Truncate
	}
	a.Send(w, cut)
}

// answer performs a request: the honest path.
func (s *Server) answer(at *endpoint, c *wire.Call, parseErr *wire.Error) *wire.Answer {
	requestID := account.NewUUID()
	xml, formatErr := c.WantsXML()
	if parseErr == nil {
		parseErr = formatErr
	}
	out, err := s.perform(at, c, parseErr)
	if text, ok := out["Plaintext"].(string); err == nil && xml && ok && !wire.Representable(text) {
		err = wire.Invalid("Format")
	}
	if err != nil {
		e := asAPIError(err)
		if e == wire.ErrInternal {
			// Errors of the state file name keys at most.
			s.logf("request %s failed inside: %v", requestID, err)
		}
		return wire.Refusal(e, xml, s.region, requestID)
	}
	return wire.Success(c.Action, xml, out, requestID)
}

// asAPIError returns the answer for an error of perform.
func asAPIError(err error) *wire.Error {
	var e *wire.Error
	if errors.As(err, &e) {
		return e
	}
	return wire.ErrInternal
}

func (s *Server) perform(at *endpoint, c *wire.Call, parseErr *wire.Error) (wire.Reply, error) {
	if c.Method != http.MethodGet && c.Method != http.MethodPost {
		return nil, wire.ErrMethod
	}
	if c.Path != "/" {
		return nil, wire.ErrNoSuchAPI
	}
	if parseErr != nil {
		return nil, parseErr
	}
	if c.Action == "" {
		return nil, wire.Missing(c.EnvelopeName("Action"))
	}
	if c.Version == "" {
		return nil, wire.Missing(c.EnvelopeName("Version"))
	}
	switch c.Version {
	case kmsVersion:
		return s.performKMS(at, c)
	case locationVersion:
		return s.locate(at, c)
	}
	return nil, wire.Invalid(c.EnvelopeName("Version"))
}

func (s *Server) performKMS(at *endpoint, c *wire.Call) (wire.Reply, error) {
	op, emulated := account.Operations[c.Action]
	if !emulated && !notEmulated[c.Action] {
		return nil, wire.ErrNoSuchAPI
	}
	// An old image does not find the access key that the signature is to be
	// checked with.
	if at.instance && s.oldImage && op.Crypto {
		return nil, wire.ErrOldImage
	}
	if err := s.auth.Check(c); err != nil {
		return nil, err
	}
	if !emulated {
		return nil, s.lacks(c.Action)
	}
	if at.instance && op.SharedOnly {
		return nil, wire.ErrUnsupportedHere
	}
	// An instance has no such bound (documented: best effort, and no error).
	if op.Crypto && !at.instance && !s.quota.take(time.Now()) {
		return nil, wire.ErrThrottled
	}
	return s.account.Perform(c.Action, at.instance, c.Params)
}

// cutConnection writes last to the TCP connection, past TLS, and closes it
// without the goodbye of TLS.
func cutConnection(w http.ResponseWriter, last []byte) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	if t, ok := conn.(*tls.Conn); ok {
		conn = t.NetConn()
	}
	conn.Write(last)
	conn.Close()
}
