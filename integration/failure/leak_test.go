package failure_test

import (
	"context"
	"encoding/base64"
	"log/slog"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/kmsfs/kmsfs/cache"
	"github.com/kmsfs/kmsfs/cache/secmem"
	"github.com/kmsfs/kmsfs/fs"
	mounts "github.com/kmsfs/kmsfs/fs/mount"
	"github.com/kmsfs/kmsfs/integration/harness"
	"github.com/kmsfs/kmsfs/kms"
	"github.com/kmsfs/kmsfs/kms/aliyun/blobs"
	"github.com/kmsfs/kmsfs/kms/gate"
)

// hanging is a key service that never answers.
type hanging struct{ calls atomic.Int32 }

func (h *hanging) Decrypt(ctx context.Context, _ kms.Blob, _ kms.EncryptionContext) (*kms.Decrypted, error) {
	h.calls.Add(1)
	<-ctx.Done()
	return nil, ctx.Err()
}

// Readers whom a service never answered, half of whom gave up, leave no
// goroutine behind, neither while the mount lives on nor after it. The mount
// is served by this process, where goroutines can be counted; only other
// processes touch it.
func TestHangingServiceLeavesNoGoroutine(t *testing.T) {
	harness.NeedMount(t)
	source, point := t.TempDir(), t.TempDir()
	const readers = 64
	for i := range readers {
		raw := "00000000-0000-0000-0000-000000000000" + strings.Repeat("x", 28+i+1)
		harness.Put(t, source+"/f"+harness.Itoa(i)+".cipher", base64.StdEncoding.EncodeToString([]byte(raw)))
	}
	outside := goleak.IgnoreCurrent()
	memory, err := secmem.New(secmem.Config{Max: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	defer memory.Close()
	plaintexts, err := cache.New(cache.Config{TTL: time.Minute, MaxBytes: 1 << 20, LoadTimeout: 2 * time.Second, Memory: memory})
	if err != nil {
		t.Fatal(err)
	}
	defer plaintexts.Close()
	service := &hanging{}
	files, err := fs.New(fs.Config{Mount: mounts.Spec{Source: source, Point: point}, Decrypter: gate.New(service, gate.Config{QPS: 1000}), Recogniser: blobs.Recogniser{}, Cache: plaintexts,
		FileMode: 0o400, DirMode: 0o500, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	ended, err := files.Mount()
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		files.Unmount(true) // for a test that failed before
		<-ended
	}()
	// Those that wait for a request come and go.
	idle, waiting := goleak.IgnoreCurrent(), goleak.IgnoreAnyFunction("github.com/kmsfs/kmsfs/fs/session.(*reader).fill")
	unanswered := requests(t, &harness.Mounted{Point: point})
	cats := make([]*exec.Cmd, readers)
	for i := range cats {
		cats[i] = exec.Command("cat", point+"/f"+harness.Itoa(i))
		cats[i].SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
		if err := cats[i].Start(); err != nil {
			t.Fatal(err)
		}
	}
	harness.Eventually(t, "a call hangs", func() bool { return service.calls.Load() > 0 })
	for _, cat := range cats[:readers/2] {
		cat.Process.Signal(os.Interrupt)
	}
	for _, cat := range cats {
		if err := cat.Wait(); err == nil {
			t.Error("a reader got something")
		}
	}
	unanswered(0)
	if err := goleak.Find(idle, waiting); err != nil {
		t.Errorf("while mounted: %v", err)
	}
	if err := files.Unmount(false); err != nil {
		t.Fatal(err)
	}
	<-ended
	plaintexts.Close()
	if err := goleak.Find(outside); err != nil {
		t.Errorf("after the mount: %v", err)
	}
}
