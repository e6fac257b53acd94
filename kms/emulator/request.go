package emulator

import (
	"bytes"
	"crypto/tls"
	"encoding/json"
	"net/http"
	"strconv"
	"time"
)

const kmsVersion = "2016-01-20"

// answer is an HTTP answer before it is sent.
type answer struct {
	status      int
	contentType string
	body        []byte
}

const (
	jsonType = "application/json;charset=utf-8"
	xmlType  = "text/xml;charset=utf-8" // the gateway's (not documented)
)

// newAnswer renders an answer. In JSON there is no root.
func newAnswer(status int, xml bool, root string, members map[string]any) *answer {
	if xml {
		return &answer{status, xmlType, toXML(root, members)}
	}
	return &answer{status, jsonType, marshal(members)}
}

func (s *Server) errorAnswer(e *apiError, xml bool, requestID string) *answer {
	return newAnswer(e.Status, xml, errorRoot, e.body(s.account.region, requestID))
}

// marshal leaves <, > and & as they are, like the service.
func marshal(v any) []byte {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		panic(err) // maps of strings and numbers always encode
	}
	return bytes.TrimRight(b.Bytes(), "\n")
}

// handler answers the requests of an endpoint.
func (s *Server) handler(at *endpoint) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { s.handle(at, w, r) })
}

// handle answers one request of the API. A fault comes before anything is
// looked at but the name of the action, and faulted calls are counted too.
func (s *Server) handle(at *endpoint, w http.ResponseWriter, r *http.Request) {
	c, parseErr := readCall(at, w, r)
	s.stats.count(c.action)

	f, cleared := s.faults.take(c.action)
	if f != nil {
		switch s.faults.wait(r.Context(), f, cleared) {
		case released:
			f = nil
		case left:
			panic(http.ErrAbortHandler)
		}
	}
	if f == nil {
		send(w, s.answer(c, parseErr), -1)
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
		a = s.answer(c, parseErr)
	}
	cut := -1
	if f.Truncate != nil {
		cut = *f.Truncate
	}
	send(w, a, cut)
}

// answer performs a request: the honest path.
func (s *Server) answer(c *call, parseErr *apiError) *answer {
	requestID := newUUID()
	xml, formatErr := c.wantsXML()
	if parseErr == nil {
		parseErr = formatErr
	}
	out, err := s.perform(c, parseErr)
	if text, ok := out["Plaintext"].(string); err == nil && xml && ok && !representable(text) {
		err = errInvalid("Format")
	}
	if err != nil {
		e := asAPIError(err)
		if e == errInternal {
			// Errors of the state file name keys at most.
			s.logf("request %s failed inside: %v", requestID, err)
		}
		return s.errorAnswer(e, xml, requestID)
	}
	out["RequestId"] = requestID
	return newAnswer(http.StatusOK, xml, successRoot(c.action), out)
}

func (s *Server) perform(c *call, parseErr *apiError) (reply, error) {
	if c.method != http.MethodGet && c.method != http.MethodPost {
		return nil, errMethod
	}
	if c.path != "/" {
		return nil, errNoSuchAPI
	}
	if parseErr != nil {
		return nil, parseErr
	}
	if c.action == "" {
		return nil, errMissing(c.envelopeName("Action"))
	}
	if c.version == "" {
		return nil, errMissing(c.envelopeName("Version"))
	}
	switch c.version {
	case kmsVersion:
		return s.performKMS(c)
	case locationVersion:
		return s.locate(c)
	}
	return nil, errInvalid(c.envelopeName("Version"))
}

func (s *Server) performKMS(c *call) (reply, error) {
	op, emulated := operations[c.action]
	if !emulated && !notEmulated[c.action] {
		return nil, errNoSuchAPI
	}
	// An old image does not find the access key that the signature is to be
	// checked with.
	if c.at.instance && s.oldImage && op.crypto {
		return nil, errOldImage
	}
	if err := s.auth.check(c); err != nil {
		return nil, err
	}
	if !emulated {
		return nil, s.lacks(c.action)
	}
	if c.at.instance && op.sharedOnly {
		return nil, errUnsupportedHere
	}
	// An instance has no such bound (documented: best effort, and no error).
	if op.crypto && !c.at.instance && !s.quota.take(time.Now()) {
		return nil, errThrottled
	}
	return s.account.perform(c)
}

// send writes an answer. With cut >= 0 it announces the full length, sends at
// most cut bytes of the body, and closes the connection.
func send(w http.ResponseWriter, a *answer, cut int) {
	w.Header().Set("Content-Type", a.contentType)
	w.Header().Set("Content-Length", strconv.Itoa(len(a.body)))
	w.WriteHeader(a.status)
	if cut < 0 {
		w.Write(a.body) // an error means that the client has gone
		return
	}
	w.Write(a.body[:min(cut, len(a.body))])
	http.NewResponseController(w).Flush()
	panic(http.ErrAbortHandler) // net/http's way to close the connection
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
