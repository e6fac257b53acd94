package wire

import (
	"errors"
	"io"
	"mime"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"
)

const (
	// maxBody bounds the body of a request, in bytes.
	maxBody = 64 << 10
	// bodyTimeout bounds how long a body may take to arrive.
	bodyTimeout = 10 * time.Second
)

// TimeLayout is how the service writes a time, always in UTC.
const TimeLayout = "2006-01-02T15:04:05Z"

// Call is a request as it arrived: taken apart, and nothing in it believed.
type Call struct {
	Method, Path, Host string
	Arrived            string // local address of the connection
	header             http.Header

	query    Params // of the URL alone
	Params   Params // of the URL and of a form body
	bodyHash string // hex SHA-256

	// acs3 says that the request is signed in its Authorization header;
	// its action and version are in headers then, else in parameters.
	acs3            bool
	Action, Version string
}

// ReadCall takes a request apart. The call is never nil, and holds what could
// be read when there is an error. It consumes the body, so that a client that
// goes away afterwards is noticed.
func ReadCall(w http.ResponseWriter, r *http.Request) (*Call, *Error) {
	c := &Call{
		Method: r.Method, Path: r.URL.Path, Host: r.Host, header: r.Header,
		query: Params{}, Params: Params{}, bodyHash: emptyHash,
		// RPC clients send x-acs-action too; it counts for nothing there.
		acs3: hasACSAuthorization(r.Header),
	}
	if local, ok := r.Context().Value(http.LocalAddrContextKey).(net.Addr); ok {
		c.Arrived = local.String()
	}
	err := c.readParams(w, r)
	c.Action, c.Version = c.Params["Action"], c.Params["Version"]
	if c.acs3 {
		c.Action, c.Version = r.Header.Get("X-Acs-Action"), r.Header.Get("X-Acs-Version")
	}
	return c, err
}

func hasACSAuthorization(h http.Header) bool {
	return strings.HasPrefix(h.Get("Authorization"), "ACS")
}

// readParams merges the parameters of the query and of a form body: clients
// send them in either place, and some in both.
func (c *Call) readParams(w http.ResponseWriter, r *http.Request) *Error {
	if err := c.query.add(r.URL.RawQuery); err != nil {
		return err
	}
	if err := c.Params.add(r.URL.RawQuery); err != nil {
		return err
	}
	if r.ContentLength == 0 {
		return nil
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
			return errParse("The request body is longer than " + strconv.Itoa(maxBody) + " bytes.")
		}
		return errParse("The request body cannot be read.")
	}
	if len(body) == 0 {
		return nil
	}
	c.bodyHash = hexHash(string(body))
	if t, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || t != "application/x-www-form-urlencoded" {
		return errParse("The request body is not application/x-www-form-urlencoded.")
	}
	return c.Params.add(string(body))
}

// EnvelopeName is what the signature family calls Action and Version,
// for an error.
func (c *Call) EnvelopeName(name string) string {
	if c.acs3 {
		return "x-acs-" + strings.ToLower(name)
	}
	return name
}

// WantsXML reads Format. JSON is the documented default of KMS; one SDK sends
// the word None for it, others json. ACS3 clients name no Format: for them an
// Accept header that names nothing but XML counts (not documented; chosen).
func (c *Call) WantsXML() (bool, *Error) {
	switch strings.ToLower(c.Params["Format"]) {
	case "xml":
		return true, nil
	case "json", "none":
		return false, nil
	case "":
		return c.acs3 && c.header.Get("Accept") == "application/xml", nil
	}
	return false, Invalid("Format")
}
