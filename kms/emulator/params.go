package emulator

import (
	"errors"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

const (
	// maxHeader and maxBody bound a request, in bytes. The longest request
	// line a client is known to send is 19 KB: 6144 bytes of CJK in a GET.
	maxHeader = 64 << 10
	maxBody   = 64 << 10
	// bodyTimeout bounds how long a body may take to arrive.
	bodyTimeout = 10 * time.Second
)

// params holds the decoded parameters of a request by name.
type params map[string]string

// readParams merges the parameters of the query and of a form body: clients
// send them in either place, and some in both. It consumes the body, so that
// a client that goes away afterwards is noticed.
func readParams(w http.ResponseWriter, r *http.Request) (params, *apiError) {
	p := params{}
	if err := p.add(r.URL.RawQuery); err != nil {
		return p, err
	}
	if r.ContentLength == 0 {
		return p, nil
	}
	rc := http.NewResponseController(w)
	// A deadline for the body alone: one for the whole request would end a
	// hanging fault.
	rc.SetReadDeadline(time.Now().Add(bodyTimeout))
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	rc.SetReadDeadline(time.Time{})
	if err != nil {
		var tooLong *http.MaxBytesError
		if errors.As(err, &tooLong) {
			return p, errParse("The request body is longer than " + strconv.Itoa(maxBody) + " bytes.")
		}
		return p, errParse("The request body cannot be read.")
	}
	if len(body) == 0 {
		return p, nil
	}
	if t, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || t != "application/x-www-form-urlencoded" {
		return p, errParse("The request body is not application/x-www-form-urlencoded.")
	}
	return p, p.add(string(body))
}

// add decodes form-encoded pairs into p. A parameter that arrives twice must
// say the same thing twice: which of two values the service would take is not
// documented, and a signature over one of them proves nothing.
func (p params) add(encoded string) *apiError {
	values, err := url.ParseQuery(encoded)
	if err != nil {
		return errParse("The request parameters are not form-encoded.")
	}
	for name, vs := range values {
		for _, v := range vs {
			if !utf8.ValidString(name) || !utf8.ValidString(v) {
				return errParse("The request parameters are not UTF-8.")
			}
			if old, ok := p[name]; ok && old != v {
				return errInvalid(name)
			}
			p[name] = v
		}
	}
	return nil
}

// need returns a parameter that must be there and not be empty.
func (p params) need(name string) (string, error) {
	if p[name] == "" {
		return "", errMissing(name)
	}
	return p[name], nil
}

// number returns an integer parameter within lo and hi, or def when it is
// absent or empty.
func (p params) number(name string, def, lo, hi int) (int, error) {
	if p[name] == "" {
		return def, nil
	}
	n, err := strconv.Atoi(p[name])
	if err != nil || n < lo || n > hi {
		return 0, errInvalid(name)
	}
	return n, nil
}

// boolean returns a parameter that is true or false in any case, or false
// when it is absent or empty.
func (p params) boolean(name string) (bool, error) {
	switch {
	case p[name] == "", strings.EqualFold(p[name], "false"):
		return false, nil
	case strings.EqualFold(p[name], "true"):
		return true, nil
	}
	return false, errInvalid(name)
}

// oneOf returns a parameter that is among the documented values, or def when
// it is absent or empty.
func (p params) oneOf(name, def string, documented ...string) (string, error) {
	if p[name] == "" {
		return def, nil
	}
	for _, d := range documented {
		if p[name] == d {
			return d, nil
		}
	}
	return "", errInvalid(name)
}
