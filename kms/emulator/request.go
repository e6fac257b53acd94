package emulator

import (
	"bytes"
	"crypto/tls"
	"encoding/json"
	"net/http"
	"strconv"
	"strings"
)

// answer is an HTTP answer before it is sent.
type answer struct {
	status int
	body   []byte
}

func errorAnswer(e *apiError, region, requestID string) *answer {
	return &answer{e.Status, marshal(e.body(region, requestID))}
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

// handle answers one request of the KMS API. A fault comes before anything
// is looked at but the name of the action, and faulted calls are counted too.
func (s *Server) handle(w http.ResponseWriter, r *http.Request) {
	p, parseErr := readParams(w, r)
	s.stats.count(p["Action"])

	f, cleared := s.faults.take(p["Action"])
	if f != nil {
		switch s.faults.wait(r.Context(), f, cleared) {
		case released:
			f = nil
		case left:
			panic(http.ErrAbortHandler)
		}
	}
	if f == nil {
		send(w, s.answer(r, p, parseErr), -1)
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
	a := f.answer(s.account.region)
	if a == nil {
		a = s.answer(r, p, parseErr)
	}
	cut := -1
	if f.Truncate != nil {
		cut = *f.Truncate
	}
	send(w, a, cut)
}

// answer performs a request: the honest path.
func (s *Server) answer(r *http.Request, p params, parseErr *apiError) *answer {
	requestID := newUUID()
	out, err := s.perform(r, p, parseErr)
	if err != nil {
		e := asAPIError(err)
		if e == errInternal {
			// Errors of the state file name keys at most.
			s.logf("request %s failed inside: %v", requestID, err)
		}
		return errorAnswer(e, s.account.region, requestID)
	}
	out["RequestId"] = requestID
	return &answer{http.StatusOK, marshal(out)}
}

func (s *Server) perform(r *http.Request, p params, parseErr *apiError) (reply, error) {
	if r.Method != http.MethodGet && r.Method != http.MethodPost {
		return nil, errMethod
	}
	if r.URL.Path != "/" {
		return nil, errNoSuchAPI
	}
	if parseErr != nil {
		return nil, parseErr
	}
	for _, name := range []string{"Action", "Version"} {
		if _, err := p.need(name); err != nil {
			return nil, err
		}
	}
	if p["Version"] != "2016-01-20" {
		return nil, errInvalid("Version")
	}
	if _, known := operations[p["Action"]]; !known {
		return nil, errNoSuchAPI
	}
	// JSON is the documented default; one SDK sends the word None for it.
	switch strings.ToLower(p["Format"]) {
	case "", "json", "none":
	default:
		return nil, errInvalid("Format")
	}
	if err := s.auth.check(r.Method, p); err != nil {
		return nil, err
	}
	return s.account.perform(p["Action"], p)
}

// send writes an answer. With cut >= 0 it announces the full length, sends at
// most cut bytes of the body, and closes the connection.
func send(w http.ResponseWriter, a *answer, cut int) {
	w.Header().Set("Content-Type", "application/json;charset=utf-8")
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
