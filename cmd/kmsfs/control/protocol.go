// Package control is both ends of the socket through which a mount is asked how
// it is doing, and told to forget or to let a new program take over. Whoever is
// not root and not the user of the mount gets no answer.
package control

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"time"
)

// The verbs.
const (
	VerbStatus = "status"
	VerbFlush  = "flush"
	VerbReload = "reload"
	// VerbSucceed is for root, who brings what is served to the next server.
	VerbSucceed = "succeed"
)

const (
	// patience is how long an end waits for the other to send, and to read.
	patience = 5 * time.Second
	// flushPatience is how long a flush may take.
	flushPatience = 10 * time.Second
	// succeedPatience is how long a server may take to give what it serves. One
	// that takes longer hangs.
	succeedPatience = 3 * time.Second
	// reloadPatience is how long it may take to find out whether a program can
	// take over.
	reloadPatience = 10 * time.Second
	// maxRequest bounds a request, in bytes.
	maxRequest = 64 << 10
	// maxAnswer bounds what a client reads of an answer.
	maxAnswer = 1 << 20
	// MaxFlushPaths bounds how many paths one request names.
	MaxFlushPaths = 256
)

// Request is what a client of the control socket sends: one line of JSON.
// Paths are bytes, in JSON as base64: a file name need not be UTF-8.
type Request struct {
	Verb  string   `json:"verb"`
	Paths [][]byte `json:"paths,omitempty"` // flush: relative to the mount; none: everything
}

// Response is one line of JSON, too.
type Response struct {
	Error  string          `json:"error,omitempty"`
	Hint   string          `json:"hint,omitempty"`
	Status json.RawMessage `json:"status,omitempty"`
	Flush  *Flushed        `json:"flush,omitempty"`
}

// Flushed is what a flush has done.
type Flushed struct {
	Plaintexts int `json:"plaintexts"`
}

// parseRequest reads one line. A request that holds more than it should is
// not understood in part.
func parseRequest(line []byte) (Request, error) {
	var r Request
	d := json.NewDecoder(bytes.NewReader(line))
	d.DisallowUnknownFields()
	if err := d.Decode(&r); err != nil {
		return Request{}, errors.New("not a request of this version") // its words may quote what was sent
	}
	if _, err := d.Token(); err != io.EOF {
		return Request{}, errors.New("more than one request in a line")
	}
	switch {
	case !slices.Contains([]string{VerbStatus, VerbFlush, VerbReload, VerbSucceed}, r.Verb):
		return Request{}, errors.New("unknown verb")
	case r.Verb != VerbFlush && len(r.Paths) > 0:
		return Request{}, errors.New("only flush takes paths")
	case len(r.Paths) > MaxFlushPaths:
		return Request{}, fmt.Errorf("more than %d paths", MaxFlushPaths)
	}
	for _, p := range r.Paths {
		if path := string(p); !filepath.IsLocal(path) || filepath.Clean(path) != path || bytes.IndexByte(p, 0) >= 0 {
			return Request{}, errors.New("a path that is not below the mount")
		}
	}
	return r, nil
}

// paths are what a flush is about: none is everything.
func (r Request) paths() []string {
	paths := make([]string, len(r.Paths))
	for i, p := range r.Paths {
		if paths[i] = string(p); paths[i] == "." {
			return nil // the mount itself
		}
	}
	return paths
}
