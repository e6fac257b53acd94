package harness

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strconv"
	"syscall"
	"testing"
	"time"
)

// readChild reads whole files, each when it is told to. A read may block, and not
// even end for a signal: that is not for the process of the tests.
var readChild = NewChild("read", func(string) {
	answers := json.NewEncoder(os.Stdout)
	for told := bufio.NewScanner(os.Stdin); told.Scan(); {
		path, err := strconv.Unquote(told.Text())
		var r readResult
		if err == nil {
			r.Content, err = os.ReadFile(path)
		}
		if err != nil {
			r.Failed, r.Text = true, err.Error()
			if failed := (*fs.PathError)(nil); errors.As(err, &failed) {
				r.Op = failed.Op
			}
			errors.As(err, &r.Errno)
		}
		answers.Encode(r)
	}
})

// readResult is what came of a read, as it passes from one process to another.
type readResult struct {
	Content []byte
	Failed  bool
	Op      string
	Errno   syscall.Errno
	Text    string // of an error that is no errno
}

// Reader is a process that reads for a test, so that a file that blocks cannot
// take the test with it.
type Reader struct {
	t       testing.TB
	tell    io.Writer
	results chan readResult // closed when the process ends
}

// NewReader starts a reader, which ends with the test.
func NewReader(t testing.TB) *Reader {
	t.Helper()
	tell, said := readChild.talk(t, "")
	r := &Reader{t, tell, make(chan readResult, 1)}
	go func() {
		defer close(r.results)
		for answers := json.NewDecoder(said); ; {
			var result readResult
			if answers.Decode(&result) != nil {
				return
			}
			r.results <- result
		}
	}()
	return r
}

// Read reads a file, and ends the test when that takes longer than limit.
func (r *Reader) Read(path string, limit time.Duration) ([]byte, error) {
	r.t.Helper()
	if _, err := fmt.Fprintln(r.tell, strconv.Quote(path)); err != nil {
		r.t.Fatal(err)
	}
	select {
	case result, ok := <-r.results:
		switch {
		case !ok:
			r.t.Fatalf("the process that reads %s has ended", path)
		case result.Errno != 0:
			return result.Content, &fs.PathError{Op: result.Op, Path: path, Err: result.Errno}
		case result.Failed:
			return result.Content, errors.New(result.Text)
		}
		return result.Content, nil
	case <-time.After(limit):
		r.t.Fatalf("reading %s takes longer than %v", path, limit)
	}
	return nil, nil
}
