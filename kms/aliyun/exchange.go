package aliyun

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptrace"
	"sync/atomic"

	"github.com/kmsfs/kmsfs/kms"
)

// exchange is the http.RoundTripper of one SDK client for one request. The SDK
// sees neither the network's errors nor the answer's body, only what this type
// has checked and cleaned.
type exchange struct {
	ctx       context.Context
	op        operation
	endpoint  string
	transport http.RoundTripper

	failure *kms.Error // what went wrong here; wins over the SDK's account of it
	status  int        // the answer's; 0 before there is one
	stale   bool       // a reused connection was closed before an answer
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

func (x *exchange) roundTrip(r *http.Request) ([]byte, *kms.Error) {
	if err := x.guard(r); err != nil {
		return nil, &kms.Error{Class: kms.ErrInvalid, Detail: "not sent: " + err.Error()}
	}
	var reused, answered atomic.Bool // set by the connection's goroutine
	trace := &httptrace.ClientTrace{
		GotConn:              func(i httptrace.GotConnInfo) { reused.Store(i.Reused) },
		GotFirstResponseByte: func() { answered.Store(true) },
	}
	resp, err := x.transport.RoundTrip(r.WithContext(httptrace.WithClientTrace(x.ctx, trace)))
	if err != nil {
		return nil, x.unanswered(err, reused.Load(), answered.Load())
	}
	defer resp.Body.Close()
	x.status = resp.StatusCode
	body, err := readAnswer(resp.Body, resp.ContentLength)
	defer clear(body)
	switch {
	case resp.StatusCode < 200 || 300 <= resp.StatusCode && resp.StatusCode < 400:
		// Followed, a redirect would carry the signed request elsewhere.
		return nil, &kms.Error{Class: kms.ErrBadAnswer, Status: x.status, Detail: "unexpected HTTP status " + statusText(x.status)}
	case resp.StatusCode >= 400:
		return nil, x.refused(body)
	case errors.Is(err, errTooLong):
		return nil, &kms.Error{Class: kms.ErrBadAnswer, Status: x.status, Detail: errTooLong.Error()}
	case err != nil:
		x.status = 0 // what arrived is no answer
		return nil, &kms.Error{Class: kms.ErrTransient, Detail: errCut.Error()}
	}
	seen, err := x.op.accept(body)
	if err != nil {
		return nil, &kms.Error{Class: kms.ErrBadAnswer, Status: x.status, RequestID: requestID(body), Detail: err.Error()}
	}
	return seen.object(), nil
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
	query := r.URL.Query()
	for _, name := range []string{"Plaintext", "CiphertextBlob"} {
		if query.Has(name) {
			return errors.New(name + " is in the URL")
		}
	}
	return nil
}

// unanswered describes a request that got no answer.
func (x *exchange) unanswered(err error, reused, answered bool) *kms.Error {
	if errors.Is(err, errBadProxy) {
		return &kms.Error{Class: kms.ErrTransient, Detail: errBadProxy.Error()}
	}
	closed := connectionClosed(err)
	x.stale = reused && !answered && closed
	if answered && !closed && x.ctx.Err() == nil {
		return &kms.Error{Class: kms.ErrBadAnswer, Detail: "answer is not HTTP"}
	}
	return &kms.Error{Class: kms.ErrTransient, Detail: describe(err, hostname(x.endpoint))}
}

// refused makes the error of an answer with a status of 400 and above.
func (x *exchange) refused(body []byte) *kms.Error {
	p := refusal(body)
	e := &kms.Error{Status: x.status, Code: p.text("Code", codeForm), RequestID: p.text("RequestId", requestIDForm)}
	e.Class, e.Detail = classify(x.op.action, e.Status, e.Code)
	return e
}

// requestID is the RequestId of a body, as far as it can be found.
func requestID(body []byte) string {
	return refusal(body).text("RequestId", requestIDForm)
}
