package ciphertexts

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"sync"

	"github.com/kmsfs/kmsfs/cmd/kmsfs/options"
	"github.com/kmsfs/kmsfs/cmd/kmsfs/ui"
	"github.com/kmsfs/kmsfs/fs"
	"github.com/kmsfs/kmsfs/fs/source"
	"github.com/kmsfs/kmsfs/kms"
	"github.com/kmsfs/kmsfs/kms/aliyun/blobs"
)

// Verification says of every file of a directory what a mount would answer.
type Verification struct {
	Streams
	*options.Settings

	// Connect is called once, before the directory is looked at.
	Connect func() (*Decrypter, error)

	dir    string
	by     *Decrypter
	survey *fs.Survey

	mu      sync.Mutex                      // guards what follows
	opened  map[[sha256.Size]byte]*verified // by ciphertext and context
	files   int                             // ciphertext files that were read
	exposed int                             // files that were never encrypted
	hints   []string                        // what to do about failures, each once
}

// verified is what became of one ciphertext, in however many files it is.
type verified struct {
	once   sync.Once
	opened kms.Opened
	err    error
}

// verdict is one line of the output.
type verdict struct {
	text string
	bad  bool
}

const (
	verifyAtOnce = 8    // files that are read and decrypted at a time
	verifyAhead  = 1024 // lines that wait for the one before them
)

// Run prints a line for each file of dir.
func (v *Verification) Run(ctx context.Context, dir string) (err error) {
	v.dir = dir
	if v.by, err = v.Connect(); err != nil {
		return err
	}
	defer v.by.Close()
	if v.survey, err = fs.NewSurvey(v.dir, v.Plain, blobs.Recogniser{}); err != nil {
		return ui.Failf("verify %s: %w", ui.Quote(v.dir), ui.Cause(err))
	}
	defer v.survey.Close()
	v.opened = map[[sha256.Size]byte]*verified{}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	done, bad := 0, 0
	var lost error // of the output
	progress := v.progress()
	for next := range v.verdicts(ctx) {
		line := <-next
		if done++; line.bad {
			bad++
		}
		progress("")
		if _, err := io.WriteString(v.Out, line.text); err != nil {
			lost = err
			stop() // nobody reads on
		}
		progress(fmt.Sprintf("%d of %d", done, len(v.survey.Names)))
	}
	progress("")
	if v.exposed > 0 {
		v.warn(fmt.Sprintf("verify %s: %d of them hold a secret that was never encrypted: it lies on the disk in the open",
			ui.Quote(v.dir), v.exposed))
	}
	for _, hint := range v.hints {
		fmt.Fprintf(v.Err, "hint: %s\n", hint)
	}
	switch {
	case lost != nil:
		return ui.Failf("verify %s: write: %w", ui.Quote(v.dir), ui.Cause(lost))
	case bad > 0:
		return ui.Failf("verify %s: %d of %d files cannot be served", ui.Quote(v.dir), bad, done)
	case v.files == 0:
		return ui.Failf("verify %s: no %s files", ui.Quote(v.dir), source.Suffix)
	}
	return nil
}

// verdicts judges all names, some at a time, and hands the lines out in the
// order of the names.
func (v *Verification) verdicts(ctx context.Context) <-chan chan verdict {
	lines := make(chan chan verdict, verifyAhead)
	go func() {
		defer close(lines)
		slots := make(chan struct{}, verifyAtOnce)
		for _, name := range v.survey.Names {
			line := make(chan verdict, 1)
			lines <- line
			slots <- struct{}{}
			go func() {
				line <- v.judge(ctx, name)
				<-slots
			}()
		}
	}()
	return lines
}

func (v *Verification) judge(ctx context.Context, name string) verdict {
	e := v.survey.Look(name)
	file, what, err := name, "", e.Err
	if e.Exposed && e.Target == "" {
		v.mu.Lock()
		v.exposed++
		v.mu.Unlock()
	}
	if e.Target != "" {
		file, what = e.Target, "link to "+ui.PlainName(e.Target)
	}
	if err == nil && e.Ciphertext != nil {
		var o kms.Opened
		if o, err = v.decrypt(ctx, file, e.Ciphertext); what == "" {
			what = fmt.Sprintf("key %s  version %s", o.KeyID, o.KeyVersionID)
			for _, note := range o.Notes {
				what += "  (" + note.Text + ")"
			}
		}
	}
	if err == nil {
		return verdict{fmt.Sprintf("ok    %s  %s\n", ui.PlainName(name), what), false}
	}
	v.advise(err)
	why := ui.OneLine(err.Error())
	if e.Target != "" {
		why = what + ": " + why
	}
	return verdict{fmt.Sprintf("FAIL  %s  %s\n", ui.PlainName(name), why), true}
}

// advise keeps the hint that an error of the service brings.
func (v *Verification) advise(err error) {
	e, ok := errors.AsType[*kms.Error](err)
	v.mu.Lock()
	defer v.mu.Unlock()
	if ok && e.Hint != "" && !slices.Contains(v.hints, e.Hint) {
		v.hints = append(v.hints, e.Hint)
	}
}

// decrypt decrypts one ciphertext, and at most once, however many files have it
// or lead to it. There is no secret in what it returns.
func (v *Verification) decrypt(ctx context.Context, file string, sealed kms.Ciphertext) (kms.Opened, error) {
	ec, err := contextFor(v.Settings, v.dir, filepath.Join(v.dir, file))
	if err != nil {
		return kms.Opened{}, err
	}
	kind, text := sealed.Identity()
	id := sha256.Sum256(fmt.Appendf(nil, "%s %q %q", kind, text, ec)) // a map prints in order
	v.mu.Lock()
	v.files++
	f := v.opened[id]
	if f == nil {
		f = &verified{}
		v.opened[id] = f
	}
	v.mu.Unlock()
	f.once.Do(func() {
		ctx, cancel := context.WithTimeout(ctx, v.Timeout)
		defer cancel()
		f.opened, f.err = sealed.Open(ctx, v.by, ec, v.Encoding)
		clear(f.opened.Secret)
		f.opened.Secret = nil
	})
	return f.opened, f.err
}

// progress returns what keeps a line of text on the terminal up to date; an
// empty text removes it. Elsewhere it does nothing.
func (v *Verification) progress() func(string) {
	if !v.Progress {
		return func(string) {}
	}
	return func(text string) { fmt.Fprint(v.Err, "\r\x1b[K", text) }
}
