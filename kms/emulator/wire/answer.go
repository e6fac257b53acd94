package wire

import (
	"bytes"
	"encoding/json"
	"net/http"
	"strconv"
)

// Reply is a successful answer without its RequestId.
type Reply map[string]any

// Answer is an HTTP answer before it is sent.
type Answer struct {
	status      int
	contentType string
	body        []byte
}

const (
	jsonType = "application/json;charset=utf-8"
	xmlType  = "text/xml;charset=utf-8" // the gateway's (not documented)
)

// newAnswer renders an answer. In JSON there is no root.
func newAnswer(status int, xml bool, root string, members map[string]any) *Answer {
	if xml {
		return &Answer{status, xmlType, toXML(root, members)}
	}
	return &Answer{status, jsonType, Marshal(members)}
}

// Success is the answer to an action.
func Success(action string, xml bool, out Reply, requestID string) *Answer {
	out["RequestId"] = requestID
	return newAnswer(http.StatusOK, xml, successRoot(action), out)
}

// Refusal is an error as an answer.
func Refusal(e *Error, xml bool, region, requestID string) *Answer {
	return newAnswer(e.Status, xml, errorRoot, e.body(region, requestID))
}

// Raw is an answer with any body, said to be JSON.
func Raw(status int, body string) *Answer {
	return &Answer{status, jsonType, []byte(body)}
}

// Marshal writes JSON. It leaves <, > and & as they are, like the service.
func Marshal(v any) []byte {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		panic(err) // maps of strings and numbers always encode
	}
	return bytes.TrimRight(b.Bytes(), "\n")
}

// Send writes the answer. With cut >= 0 it announces the full length, sends at
// most cut bytes of the body, and closes the connection.
func (a *Answer) Send(w http.ResponseWriter, cut int) {
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
