package daemon

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// reader is one of the log; while it does not read, it does not.
type reader struct {
	bytes.Buffer
	reads chan struct{}
}

func (r *reader) Write(p []byte) (int, error) {
	<-r.reads
	return r.Buffer.Write(p)
}

// Who logs does not wait for the reader; what finds no room is counted, and said
// as soon as there is room.
func TestAsyncLogDoesNotWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &reader{reads: make(chan struct{})}
		log := newAsyncLog(r, textLoss)
		line := []byte("line\n")
		for range cap(log.lines) + 11 {
			if n, err := log.Write(line); n != len(line) || err != nil {
				t.Fatal(n, err)
			}
			synctest.Wait() // one line is in the reader's hands
		}
		copy(line, "gone") // a line is the log's own
		close(r.reads)
		synctest.Wait()
		log.Write([]byte("after\n"))
		log.close()
		got := r.String()
		if !strings.Contains(got, "level=WARN msg=\"log lines lost\" lines=10\n") || strings.Contains(got, "gone") || !strings.HasSuffix(got, "after\n") {
			t.Errorf("%d bytes, which end with %q", len(got), got[max(0, len(got)-100):])
		}
	})
}

// The end of the process does not wait for a reader that does not read.
func TestAsyncLogCloses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &reader{reads: make(chan struct{})}
		log := newAsyncLog(r, textLoss)
		log.Write([]byte("line\n"))
		begun := time.Now()
		log.close()
		if took := time.Since(begun); took > 2*time.Second {
			t.Errorf("%v", took)
		}
		log.Write([]byte("into nothing\n"))
		close(r.reads)
	})
}

// Lines that waited behind a slow reader are written together, whole, in order
// and to the last; a reader of messages gets one each.
func TestAsyncLogJoinsLinesOfText(t *testing.T) {
	for _, text := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			r := &reader{reads: make(chan struct{}, 4096)}
			log := startAsyncLog(r, text, textLoss)
			var want strings.Builder
			for i := range 2000 {
				line := fmt.Sprintf("line %d %s\n", i, strings.Repeat("x", i%100))
				want.WriteString(line)
				log.Write([]byte(line))
			}
			for range cap(r.reads) {
				r.reads <- struct{}{}
			}
			log.close()
			writes := cap(r.reads) - len(r.reads)
			if r.String() != want.String() || text != (writes < 20) || !text && writes != 2000 {
				t.Errorf("text %v: %d bytes of %d in %d writes", text, r.Len(), want.Len(), writes)
			}
		})
	}
}
