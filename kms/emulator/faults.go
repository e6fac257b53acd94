package emulator

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/kmsfs/kmsfs/kms/emulator/account"
	"github.com/kmsfs/kmsfs/kms/emulator/wire"
)

// fault is one misbehaviour as it is posted. It does what it names, in this
// order: wait (Delay, Hang), then one of Close, TLS, Raw, an error answer
// (Status and Code), or else the true answer; Truncate cuts whichever answer
// that is.
type fault struct {
	Action   string   `json:"action,omitempty"` // empty: any
	Count    *int     `json:"count,omitempty"`  // requests left; absent: no limit
	Status   int      `json:"status,omitempty"`
	Code     string   `json:"code,omitempty"`
	Message  string   `json:"message,omitempty"`
	Delay    duration `json:"delay,omitzero"`
	Hang     bool     `json:"hang,omitempty"`     // until the client leaves, the faults are deleted or the server stops
	Close    bool     `json:"close,omitempty"`    // the connection, without an answer
	Truncate *int     `json:"truncate,omitempty"` // the answer's body after so many bytes; Content-Length tells the full length
	TLS      string   `json:"tls,omitempty"`      // "cut": end the connection inside a TLS record
	Raw      *string  `json:"raw,omitempty"`      // this body, with Status or 200
}

// duration is a Go duration such as "300ms" in JSON.
type duration time.Duration

func (d *duration) UnmarshalJSON(b []byte) error {
	var s string
	if err := json.Unmarshal(b, &s); err != nil {
		return err
	}
	v, err := time.ParseDuration(s)
	if err != nil || v < 0 {
		return fmt.Errorf("delay is not a duration such as \"300ms\"")
	}
	*d = duration(v)
	return nil
}

func (d duration) MarshalJSON() ([]byte, error) {
	return json.Marshal(time.Duration(d).String())
}

// parseFault reads one fault. A misspelt fault that silently never happens
// makes a test pass for the wrong reason, so everything must make sense.
func parseFault(r io.Reader) (fault, error) {
	var f fault
	d := json.NewDecoder(r)
	d.DisallowUnknownFields()
	if err := d.Decode(&f); err != nil {
		return f, err
	}
	if _, err := d.Token(); err != io.EOF {
		return f, errors.New("more than one JSON value")
	}
	if f.Action != "" && !exists(f.Action) {
		return f, fmt.Errorf("unknown action %q", f.Action)
	}
	if f.Count != nil && *f.Count < 1 {
		return f, errors.New("count is below 1")
	}
	if f.Truncate != nil && *f.Truncate < 0 {
		return f, errors.New("truncate is below 0")
	}
	if f.Status != 0 && (f.Status < 200 || f.Status > 599) {
		return f, errors.New("status is not between 200 and 599")
	}
	if f.TLS != "" && f.TLS != "cut" {
		return f, errors.New("tls is not \"cut\"")
	}
	var ends []string
	statusAlone := f.Status != 0 && f.Raw == nil && !f.Close && f.TLS == ""
	for name, given := range map[string]bool{
		"close": f.Close, "tls": f.TLS != "", "raw": f.Raw != nil, "code": f.Code != "" || f.Message != "" || statusAlone,
	} {
		if given {
			ends = append(ends, name)
		}
	}
	slices.Sort(ends)
	switch {
	case len(ends) > 1:
		return f, errors.New(strings.Join(ends, " and ") + " exclude each other")
	case (f.Close || f.TLS != "") && (f.Status != 0 || f.Truncate != nil):
		return f, errors.New("a closed connection has no status and no body")
	case f.Status != 0 && f.Status < 400 && f.Raw == nil:
		return f, errors.New("a status below 400 needs raw")
	case f.Message != "" && f.Code == "" && f.Status == 0:
		return f, errors.New("message needs status or code")
	case len(ends) == 0 && f.Delay == 0 && !f.Hang && f.Truncate == nil:
		return f, errors.New("the fault does nothing")
	}
	return f, nil
}

// faultAnswer is what the fault says instead of the truth, or nil. A code of
// the catalogue brings its own status and text.
func (s *Server) faultAnswer(f *fault, c *wire.Call) *wire.Answer {
	xml, _ := c.WantsXML()
	switch {
	case f.Raw != nil:
		return wire.Raw(cmp.Or(f.Status, http.StatusOK), *f.Raw)
	case f.Code != "" || f.Status != 0:
		e := wire.Error{Status: f.Status, Code: f.Code, Message: f.Message}
		if e.Code == "" {
			e.Code = usualCode(e.Status)
		}
		if known := wire.Listed(e.Code); known != nil {
			e.Status = cmp.Or(e.Status, known.Status)
			e.Message = cmp.Or(e.Message, known.Message)
			e.Gateway = known.Gateway
		}
		e.Status = cmp.Or(e.Status, http.StatusBadRequest)
		return wire.Refusal(&e, xml, s.region, account.NewUUID())
	}
	return nil
}

// usualCode is the code for a fault that names only a status.
func usualCode(status int) string {
	switch status {
	case http.StatusForbidden:
		return "Forbidden.NoPermission"
	case http.StatusNotFound:
		return wire.ErrKeyNotFound.Code
	case http.StatusConflict:
		return wire.ErrDisabled.Code
	case http.StatusTooManyRequests:
		return "Rejected.Throttling"
	case http.StatusServiceUnavailable:
		return "ServiceUnavailableTemporary"
	}
	if status >= 500 {
		return wire.ErrInternal.Code
	}
	return "InvalidParameter"
}

// faults is the list of what shall go wrong. Its zero value is empty and
// ready.
type faults struct {
	mu      sync.Mutex
	list    []*fault
	waiting int           // requests that a fault holds now
	cleared chan struct{} // closed by clear; nil while nobody asked for it
}

func (fs *faults) add(f fault) {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	fs.list = append(fs.list, &f)
}

// take returns the first fault, in order of posting, that applies to an action,
// or nil, and counts it down. The channel closes when faults are deleted.
func (fs *faults) take(action string) (*fault, <-chan struct{}) {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	for i, f := range fs.list {
		if f.Action != "" && f.Action != action {
			continue
		}
		if fs.cleared == nil {
			fs.cleared = make(chan struct{})
		}
		taken := *f
		if f.Count != nil {
			left := *f.Count - 1 // the taken copy keeps its own
			f.Count = &left
			if left == 0 {
				fs.list = slices.Delete(fs.list, i, i+1)
			}
		}
		return &taken, fs.cleared
	}
	return nil, nil
}

// clear deletes every fault and releases the requests that one holds.
func (fs *faults) clear() {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	fs.list = nil
	if fs.cleared != nil {
		close(fs.cleared)
		fs.cleared = nil
	}
}

// snapshot returns the faults that may still happen and how many requests one
// holds.
func (fs *faults) snapshot() (list []fault, waiting int) {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	list = []fault{}
	for _, f := range fs.list {
		list = append(list, *f)
	}
	return list, fs.waiting
}

// What ends the wait of a fault.
type waited int

const (
	elapsed  waited = iota // its time is over: go on with the fault
	released               // it was deleted: go on as if there was none
	left                   // the client went away, or the server stops
)

// wait performs Delay and Hang. ctx ends with the client's connection or the
// server.
func (fs *faults) wait(ctx context.Context, f *fault, cleared <-chan struct{}) waited {
	if f.Delay == 0 && !f.Hang {
		return elapsed
	}
	fs.mu.Lock()
	fs.waiting++
	fs.mu.Unlock()
	defer func() {
		fs.mu.Lock()
		fs.waiting--
		fs.mu.Unlock()
	}()
	var over <-chan time.Time
	if !f.Hang {
		t := time.NewTimer(time.Duration(f.Delay))
		defer t.Stop()
		over = t.C
	}
	select {
	case <-over:
		return elapsed
	case <-cleared:
		return released
	case <-ctx.Done():
		return left
	}
}
