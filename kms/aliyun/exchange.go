package aliyun

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/kmsfs/kmsfs/kms"
	"github.com/kmsfs/kmsfs/kms/aliyun/scrub"
)

// exchange is the http.RoundTripper of one SDK client for one request. The SDK
// sees neither the network's errors nor the answer's body, only what this type
// has checked and cleaned.
type exchange struct {
	ctx       context.Context
	op        operation
	endpoint  string
	transport http.RoundTripper
	secrets   []string // credentials and parameters, which no answer may carry into an error

	failure   *kms.Error  // what went wrong here; wins over the SDK's account of it
	status    int         // the answer's; 0 before there is one
	connReset bool        // a reused connection was closed before an answer
	connected atomic.Bool // there was a connection to send on
}

// RoundTrip implements http.RoundTripper.
func (x *exchange) RoundTrip(r *http.Request) (*http.Response, error) {
	answer, failure := x.roundTrip(r)
	if failure != nil {
		failure.Action = x.op.action
		x.failure = failure
		return nil, failure
	}
	return &http.Response{
		Status:        http.StatusText(x.status),
		StatusCode:    x.status,
		Proto:         "HTTP/1.1",
		ProtoMajor:    1,
		ProtoMinor:    1,
		Header:        http.Header{"Content-Type": {"application/json"}},
		ContentLength: int64(len(answer)),
		Body:          io.NopCloser(bytes.NewReader(answer)),
		Request:       r,
	}, nil
}

func (x *exchange) roundTrip(r *http.Request) (seen []byte, failure *kms.Error) {
	defer func() {
		// Caught here and not only in try, so that http.Client stops its timer.
		if recover() != nil {
			failure = &kms.Error{Class: kms.ErrBadAnswer, Status: x.status, Detail: "reading the answer panicked"}
		}
	}()
	if err := x.guard(r); err != nil {
		return nil, &kms.Error{Class: kms.ErrInvalid, Detail: "not sent: " + err.Error()}
	}
	var reused, answered atomic.Bool // set by the connection's goroutine
	trace := &httptrace.ClientTrace{
		GotConn: func(i httptrace.GotConnInfo) {
			x.connected.Store(true)
			reused.Store(i.Reused)
		},
		GotFirstResponseByte: func() { answered.Store(true) },
	}
	resp, err := x.transport.RoundTrip(r.WithContext(httptrace.WithClientTrace(x.ctx, trace)))
	if err != nil {
		return nil, x.unanswered(err, reused.Load(), answered.Load())
	}
	defer resp.Body.Close()
	x.status = resp.StatusCode
	body, err := readAnswer(resp.Body, resp.ContentLength, x.op.longest())
	defer clear(body)
	switch {
	case resp.StatusCode < 200 || 300 <= resp.StatusCode && resp.StatusCode < 400:
		// Followed, a redirect would carry the signed request elsewhere.
		return nil, &kms.Error{Class: kms.ErrBadAnswer, Status: x.status, Detail: "unexpected HTTP status " + scrub.StatusText(x.status)}
	case err != nil && !errors.Is(err, errTooLong):
		x.status = 0 // what arrived is no answer
		return nil, &kms.Error{Class: kms.ErrTransient, Detail: errCut.Error()}
	case resp.StatusCode >= 400:
		return nil, x.refused(body)
	case err != nil:
		return nil, &kms.Error{Class: kms.ErrBadAnswer, Status: x.status, Detail: errTooLong.Error()}
	}
	members, err := x.op.accept(body)
	if err == nil && x.echoes(members.Text("RequestId", scrub.RequestIDForm)) {
		err = errors.New("member RequestId repeats the request")
	}
	if err != nil {
		return nil, &kms.Error{Class: kms.ErrBadAnswer, Status: x.status, RequestID: x.requestID(scrub.Refusal(body)), Detail: err.Error()}
	}
	return members.Object(), nil
}

// guard looks at the request that the SDK has made. Nothing here should ever
// fail; if a new SDK lapses, it fails before a byte is sent.
func (x *exchange) guard(r *http.Request) error {
	switch {
	case r.URL.Scheme != "https":
		return errors.New("the request is not HTTPS")
	case r.URL.Host != x.endpoint || r.Host != "" && r.Host != x.endpoint || r.URL.User != nil:
		return errors.New("the request is for another host")
	case r.Method != http.MethodPost || r.ProtoMajor != 1 || r.ProtoMinor != 1:
		return errors.New("the request is not a POST of HTTP/1.1")
	}
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return errors.New("the query is malformed")
	}
	for _, name := range []string{"Plaintext", "CiphertextBlob"} {
		if query.Has(name) {
			return errors.New(name + " is in the URL")
		}
	}
	return nil
}

// unanswered describes a request that got no answer.
func (x *exchange) unanswered(err error, reused, answered bool) *kms.Error {
	if errors.Is(err, scrub.ErrBadProxy) {
		return &kms.Error{Class: kms.ErrTransient, Detail: scrub.ErrBadProxy.Error(), Unreached: true}
	}
	closed := scrub.ConnectionClosed(err)
	x.connReset = reused && !answered && closed
	if answered && !closed && x.ctx.Err() == nil {
		return &kms.Error{Class: kms.ErrBadAnswer, Detail: "answer is not HTTP"}
	}
	host := hostname(x.endpoint)
	detail := scrub.Describe(err, host)
	return &kms.Error{Class: kms.ErrTransient, Detail: detail, Hint: scrub.TransportHint(detail, host), Unreached: !x.connected.Load()}
}

// refused makes the error of an answer with a status of 400 and above.
func (x *exchange) refused(body []byte) *kms.Error {
	p := scrub.Refusal(body)
	e := &kms.Error{Status: x.status, RequestID: x.requestID(p)}
	if code := p.Text("Code", scrub.CodeForm); !x.echoes(code) {
		e.Code = code
	}
	code := e.Code
	if code == "MissingParameter" && mentions(body, "x-kms-") {
		code = scrub.MissingOfOldImage
	}
	v := scrub.Classify(x.op.action, e.Status, code)
	e.Detail, e.Class, e.Hint = v.Detail, v.Class, v.Hint
	return e
}

// mentions looks for a word in an error's Message, which is repeated nowhere.
func mentions(body []byte, word string) bool {
	p, err := scrub.Pick(body, "Message")
	return err == nil && bytes.Contains(p["Message"], []byte(word))
}

func (x *exchange) requestID(p scrub.Picked) string {
	if id := p.Text("RequestId", scrub.RequestIDForm); !x.echoes(id) {
		return id
	}
	return ""
}

// echoes says whether an answer's word is a piece of what was sent: a hostile
// endpoint could hide a token in the form of a code. The codes that are known
// are no secrets, whatever a plaintext may be.
func (x *exchange) echoes(word string) bool {
	if scrub.Known(word) {
		return false
	}
	const telling = 8 // bytes; shorter pieces coincide
	return slices.ContainsFunc(x.secrets, func(s string) bool {
		return len(word) >= telling && strings.Contains(s, word) || len(s) >= telling && strings.Contains(word, s)
	})
}
