package emulator

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"time"

	"github.com/kmsfs/kmsfs/kms/emulator/wire"
)

// maxFault bounds a posted fault, in bytes: raw may be larger than any client
// should read.
const maxFault = 4 << 20

// adminHandler is the second, plain-HTTP server, for the tests that drive this
// one:
//
//	GET /stats      {"calls":{"Decrypt":5,…}}
//	DELETE /stats   count from zero
//	GET /faults     {"faults":[…],"waiting":n}: what may still happen, and how
//	                many requests a delay or hang holds now
//	POST /faults    one more fault, behind the others; 400 says what is wrong
//	DELETE /faults  none any more; held requests go on as if none had been
//	POST /sts       {"ttl":"2s"}: a temporary access key, in the form of STS
//	GET /internet-access    {"on":true}: whether keys of an instance do
//	                        cryptography at the shared endpoint
//	POST /internet-access   {"on":false}: turn it
func (s *Server) adminHandler() http.Handler {
	mux := http.NewServeMux()
	reply := func(w http.ResponseWriter, status int, v any) {
		w.Header().Set("Content-Type", "application/json;charset=utf-8")
		w.WriteHeader(status)
		w.Write(append(wire.Marshal(v), '\n'))
	}
	mux.HandleFunc("GET /stats", func(w http.ResponseWriter, r *http.Request) {
		reply(w, http.StatusOK, map[string]any{"calls": s.stats.snapshot()})
	})
	mux.HandleFunc("DELETE /stats", func(w http.ResponseWriter, r *http.Request) {
		s.stats.clear()
		reply(w, http.StatusOK, map[string]any{})
	})
	mux.HandleFunc("GET /faults", func(w http.ResponseWriter, r *http.Request) {
		list, waiting := s.faults.snapshot()
		reply(w, http.StatusOK, map[string]any{"faults": list, "waiting": waiting})
	})
	mux.HandleFunc("POST /faults", func(w http.ResponseWriter, r *http.Request) {
		f, err := parseFault(http.MaxBytesReader(w, r.Body, maxFault))
		if err != nil {
			reply(w, http.StatusBadRequest, map[string]any{"error": err.Error()})
			return
		}
		s.faults.add(f)
		reply(w, http.StatusOK, map[string]any{})
	})
	mux.HandleFunc("DELETE /faults", func(w http.ResponseWriter, r *http.Request) {
		s.faults.clear()
		reply(w, http.StatusOK, map[string]any{})
	})
	mux.HandleFunc("POST /sts", func(w http.ResponseWriter, r *http.Request) {
		ttl, err := wire.ParseTTL(http.MaxBytesReader(w, r.Body, maxFault))
		if err != nil {
			reply(w, http.StatusBadRequest, map[string]any{"error": err.Error()})
			return
		}
		reply(w, http.StatusOK, s.auth.Issue(ttl, time.Now()))
	})
	mux.HandleFunc("GET /internet-access", func(w http.ResponseWriter, r *http.Request) {
		reply(w, http.StatusOK, map[string]any{"on": s.account.InternetAccess()})
	})
	mux.HandleFunc("POST /internet-access", func(w http.ResponseWriter, r *http.Request) {
		on, err := parseInternetAccess(http.MaxBytesReader(w, r.Body, maxFault))
		if err != nil {
			reply(w, http.StatusBadRequest, map[string]any{"error": err.Error()})
			return
		}
		s.account.SetInternetAccess(on)
		reply(w, http.StatusOK, map[string]any{"on": on})
	})
	return mux
}

// parseInternetAccess reads {"on":false}.
func parseInternetAccess(r io.Reader) (bool, error) {
	var asked struct {
		On *bool `json:"on"`
	}
	d := json.NewDecoder(r)
	d.DisallowUnknownFields()
	if err := d.Decode(&asked); err != nil {
		return false, err
	}
	if _, err := d.Token(); err != io.EOF {
		return false, errors.New("more than one JSON value")
	}
	if asked.On == nil {
		return false, errors.New(`on is missing: {"on":true} or {"on":false}`)
	}
	return *asked.On, nil
}
