package daemon

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/kmsfs/kmsfs/cmd/kmsfs/ui"
	"github.com/kmsfs/kmsfs/kms"
	"github.com/kmsfs/kmsfs/kms/gate"
)

// lateAgain is how long after an attempt to connect the next one is made.
const lateAgain = 500 * time.Millisecond

// lateService is who decrypts in a successor that has found no credentials, or no
// certificates, where its predecessor had them: for the predecessor nothing had
// to be there any more. The mount is served on, which needs nobody who decrypts
// until a file is opened; then the connection is tried again.
type lateService struct {
	connect func(*slog.Logger) (*KeyService, error)
	log     *slog.Logger
	undone  func(*KeyService) // told once it works

	mu      sync.Mutex
	service *KeyService // nil as long as it does not
	tried   time.Time
	err     error
}

// Decrypt implements kms.Decrypter.
func (l *lateService) Decrypt(ctx context.Context, blob kms.Blob, ec kms.EncryptionContext) (*kms.Decrypted, error) {
	service, err := l.get()
	if err != nil {
		e := &kms.Error{Class: kms.ErrAuthentication, Action: "connect", Detail: ui.OneLine(err.Error())}
		if f, ok := errors.AsType[*ui.Failure](err); ok {
			e.Hint = f.Tip
		}
		return nil, e
	}
	return service.Decrypter.Decrypt(ctx, blob, ec)
}

func (l *lateService) get() (*KeyService, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.service != nil || time.Since(l.tried) < lateAgain {
		return l.service, l.err
	}
	l.service, l.err = l.connect(l.log)
	l.tried = time.Now()
	if l.err == nil {
		l.undone(l.service)
	}
	return l.service, l.err
}

// close ends what has been connected.
func (l *lateService) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.service != nil {
		l.service.Close()
	}
}

// connectOrLater connects. A successor that cannot serves on, and says why.
func (d *daemon) connectOrLater() (kms.Decrypter, error) {
	service, err := d.Connect(d.log)
	if err == nil {
		d.undo = append(d.undo, service.Close)
		d.gate.Store(service.Gate)
		d.warnings.remember(service.Warnings...)
		return service.Decrypter, nil
	}
	if d.in.Line == nil || d.in.Rehearsal {
		return nil, err
	}
	warning := "no file can be opened until this is mended: " + ui.OneLine(err.Error())
	d.warnings.warn(warning)
	d.gate.Store(gate.New(nil, gate.Config{})) // whose counts are 0
	late := &lateService{connect: d.Connect, log: d.log, err: err, tried: time.Now(), undone: func(s *KeyService) {
		d.gate.Store(s.Gate)
		d.warnings.forget(warning)
		d.warnings.remember(s.Warnings...)
		d.log.Info("files can be opened again", "mountpoint", d.Point)
	}}
	d.undo = append(d.undo, late.close)
	return late, nil
}
