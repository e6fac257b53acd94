package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path/filepath"
)

const (
	// maxRequest bounds a request, in bytes.
	maxRequest = 64 << 10
	// maxAnswer bounds what a client reads of an answer.
	maxAnswer = 1 << 20
	// maxFlushPaths bounds how many paths one request names.
	maxFlushPaths = 256
)

// request is what a client of the control socket sends: one line of JSON.
// Paths are bytes, in JSON as base64: a file name need not be UTF-8.
type request struct {
	Verb  string   `json:"verb"`            // status, flush or reload
	Paths [][]byte `json:"paths,omitempty"` // flush: relative to the mount; none: everything
}

// response is one line of JSON, too.
type response struct {
	Error  string          `json:"error,omitempty"`
	Hint   string          `json:"hint,omitempty"`
	Status json.RawMessage `json:"status,omitempty"`
	Flush  *flushed        `json:"flush,omitempty"`

	after func() // is called when it has been sent
}

// parseRequest reads one line. A request that holds more than it should is
// not understood in part.
func parseRequest(line []byte) (request, error) {
	var r request
	d := json.NewDecoder(bytes.NewReader(line))
	d.DisallowUnknownFields()
	if err := d.Decode(&r); err != nil {
		return request{}, errors.New("not a request of this version") // its words may quote what was sent
	}
	if _, err := d.Token(); err != io.EOF {
		return request{}, errors.New("more than one request in a line")
	}
	switch {
	case r.Verb != "status" && r.Verb != "flush" && r.Verb != "reload":
		return request{}, errors.New("unknown verb")
	case r.Verb != "flush" && len(r.Paths) > 0:
		return request{}, errors.New("only flush takes paths")
	case len(r.Paths) > maxFlushPaths:
		return request{}, fmt.Errorf("more than %d paths", maxFlushPaths)
	}
	for _, p := range r.Paths {
		if path := string(p); !filepath.IsLocal(path) || filepath.Clean(path) != path || bytes.IndexByte(p, 0) >= 0 {
			return request{}, errors.New("a path that is not below the mount")
		}
	}
	return r, nil
}
