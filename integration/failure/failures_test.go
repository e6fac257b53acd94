package failure_test

import (
	"errors"
	"fmt"
	"os"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/kmsfs/kmsfs/integration/harness"
	"github.com/kmsfs/kmsfs/integration/lab"
)

// failure is one way in which the key service fails, and what readers get
// meanwhile. A file that is fresh is always served, without a call.
//
// So is one past its TTL, for as long as stale= says, if there was no answer at
// all, or one about ourselves.
type failure struct {
	name    string
	prepare func(*failing) []string // options of the mount
	// ownNetwork: prepare takes the mount's process into a network of the test's
	ownNetwork bool
	fault      map[string]any // what each Decrypt meets; or else
	begin      func(*failing)
	end        func(*failing)

	never     syscall.Errno // of a file that was never read; 0: it is served
	words     []string      // in the log's line of that open
	requestID bool          // that line names the call
	purges    bool          // the key version's entries, too
	past      syscall.Errno // of a file past its TTL, inside stale; 0: it is served
}

// failing is a mount whose key service will fail.
type failing struct {
	*testing.T
	*lab.Lab
	*harness.Mounted
	brief *harness.Mounted // the same source, with a TTL of a second, and stale=
	key   string           // id of the key of all files but "other"
	never string           // ciphertext of the file that is not read before

	names       *resolver
	credentials string    // file
	expires     time.Time // when the key in it does
}

const (
	failingTimeout = 5 * time.Second
	// looseBound is how much longer than its deadline a load may take on a
	// busy machine.
	looseBound = 8 * time.Second
	// secretOfNever has 13 bytes, for answers that have one more or less.
	secretOfNever = "never read be"
	secretOfOld   = "a second old "
	// staleBound is how long the first reader of a stale file may wait, on a
	// busy machine; its timeout is longer.
	staleBound = time.Second + looseBound
	briefly    = "ttl=1s,stale=1m,timeout=20s"
)

var failures = []failure{
	{name: "slow", fault: map[string]any{"delay": "2s"}},
	{name: "never answering", fault: map[string]any{"hang": true},
		never: syscall.ETIMEDOUT, words: []string{"out of time after 2 attempts"}},
	{name: "throttled", fault: map[string]any{"status": 429},
		never: syscall.ETIMEDOUT, words: []string{"Rejected.Throttling", "out of time after"}, requestID: true},
	{name: "throttled with 400", fault: map[string]any{"status": 400, "code": "Throttling.User"},
		never: syscall.ETIMEDOUT, words: []string{"Throttling.User", "out of time after"}, requestID: true},
	{name: "500", fault: map[string]any{"status": 500},
		never: syscall.EIO, words: []string{"key service unavailable", "InternalFailure"}, requestID: true},
	{name: "503", fault: map[string]any{"status": 503},
		never: syscall.EIO, words: []string{"key service unavailable", "ServiceUnavailableTemporary"}, requestID: true},
	{name: "connection closed", fault: map[string]any{"close": true},
		never: syscall.ETIMEDOUT, words: []string{"connection closed"}},
	{name: "TLS cut", fault: map[string]any{"tls": "cut"},
		never: syscall.ETIMEDOUT, words: []string{"connection closed"}},
	{name: "half a body", fault: map[string]any{"truncate": 20},
		never: syscall.ETIMEDOUT, words: []string{"out of time after"}},
	{name: "connection refused", begin: (*failing).stopService, end: (*failing).startService,
		never: syscall.ETIMEDOUT, words: []string{"connection refused"}},
	{name: "name not resolving", ownNetwork: true, prepare: (*failing).ownNames, begin: (*failing).loseName, end: (*failing).findName,
		never: syscall.ETIMEDOUT, words: []string{"no such host"}},
	{name: "HTML with 502", fault: map[string]any{"status": 502, "raw": "<html>bad gateway</html>"},
		never: syscall.EIO, words: []string{"key service unavailable", "502"}},
	{name: "HTML with 403", fault: map[string]any{"status": 403, "raw": "<html>log in to this network</html>"},
		never: syscall.EIO, words: []string{"implausible answer", "403"}, past: syscall.EIO},
	{name: "HTML with 200", fault: map[string]any{"raw": "<html>log in to this network</html>"},
		never: syscall.EIO, words: []string{"implausible answer"}, past: syscall.EIO},
	{name: "an empty answer", fault: map[string]any{"raw": "{}"},
		never: syscall.EIO, words: []string{"implausible answer"}, past: syscall.EIO},
	{name: "one byte too long", begin: answering(1), end: (*failing).clear,
		never: syscall.EIO, words: []string{"implausible answer", "ciphertext holds 13"}, past: syscall.EIO},
	{name: "one byte too short", begin: answering(-1), end: (*failing).clear,
		never: syscall.EIO, words: []string{"implausible answer", "ciphertext holds 13"}, past: syscall.EIO},
	{name: "denied", fault: map[string]any{"status": 403, "code": "Forbidden.NoPermission"},
		never: syscall.EACCES, words: []string{"access denied", "Forbidden.NoPermission"}, requestID: true, past: syscall.EACCES},
	{name: "key disabled", begin: (*failing).disableKey, end: (*failing).enableKey,
		never: syscall.EKEYREVOKED, words: []string{"the key is disabled", "Rejected.Disabled"}, requestID: true, purges: true, past: syscall.EKEYREVOKED},
	{name: "key pending deletion", begin: (*failing).deleteKey, end: (*failing).keepKey,
		never: syscall.EKEYREVOKED, words: []string{"about to be deleted", "Rejected.PendingDeletion"}, requestID: true, purges: true, past: syscall.EKEYREVOKED},
	{name: "key version gone", fault: map[string]any{"code": "Forbidden.KeyVersionNotFound"},
		never: syscall.EKEYREVOKED, words: []string{"no such key version"}, requestID: true, purges: true, past: syscall.EKEYREVOKED},
	{name: "bad ciphertext", begin: (*failing).damage, end: (*failing).mend,
		never: syscall.EBADMSG, words: []string{"ciphertext cannot be decrypted", "InvalidParameter"}, requestID: true},
	{name: "access key deleted", fault: map[string]any{"code": "InvalidAccessKeyId.NotFound"},
		never: syscall.EACCES, words: []string{"rejected our credentials", "InvalidAccessKeyId.NotFound"}, requestID: true},
	{name: "credentials expired", prepare: (*failing).temporaryKey, begin: (*failing).expire, end: (*failing).renew,
		never: syscall.EACCES, words: []string{"rejected our credentials", "InvalidSecurityToken.Expired"}, requestID: true},
	{name: "clock skew", fault: map[string]any{"code": "InvalidTimeStamp.Expired"},
		never: syscall.EACCES, words: []string{"rejected our credentials", "this machine's clock is wrong"}, requestID: true},
	{name: "account in debt", fault: map[string]any{"status": 403, "code": "Forbidden.InDebt"},
		never: syscall.EACCES, words: []string{"not set up for this", "overdue payment"}, requestID: true},
	{name: "instance behind the switch", fault: map[string]any{"code": "UnsupportedOperation"},
		never: syscall.EACCES, words: []string{"not set up for this", "UnsupportedOperation"}, requestID: true},
}

// Whatever the key service does, every open ends in time with the errno that
// says what it was, what is fresh is served, nothing is purged but what was
// refused, and all is well when the trouble is over.
func TestEachFailureHasItsErrno(t *testing.T) {
	harness.NeedMount(t)
	var wg sync.WaitGroup
	some := make(chan struct{}, 6) // at a time: they wait more than they work
	for _, f := range failures {
		if f.ownNetwork && *harness.AsService {
			continue // a unit's process is in no network of the test's
		}
		some <- struct{}{}
		wg.Go(func() {
			defer func() { <-some }()
			t.Run(f.name, f.test)
		})
	}
	wg.Wait()
}

func (f failure) test(t *testing.T) {
	s := &failing{T: t, Lab: harness.NewLab(t, "--san", serviceName)}
	source := t.TempDir()
	s.key = harness.KeyOfAlias(t, s.Lab)
	s.never = harness.Seal(t, s.Lab, secretOfNever)
	harness.Put(t, source+"/never.cipher", s.never)
	harness.Put(t, source+"/fresh.cipher", harness.Seal(t, s.Lab, "fresh"))
	harness.Put(t, source+"/old.cipher", harness.Seal(t, s.Lab, secretOfOld))
	harness.Put(t, source+"/other.cipher", harness.SealWith(t, s.Lab, "of another key", "--key", harness.OtherKey(t, s.Lab)))
	options := []string{"timeout=" + failingTimeout.String()}
	if f.prepare != nil {
		options = append(options, f.prepare(s)...)
	}
	s.Mounted = harness.Mount(t, s.Lab, source, options...)
	s.brief = harness.Mount(t, s.Lab, source, append(options, briefly)...)
	secrets := map[string]string{"fresh": "fresh", "other": "of another key", "never": secretOfNever}
	if got := harness.Read(t, s.brief.Path("old")); got != secretOfOld {
		t.Fatalf("old reads %q", got)
	}
	for _, name := range []string{"fresh", "other"} {
		if got := harness.Read(t, s.Path(name)); got != secrets[name] {
			t.Fatalf("%s reads %q", name, got)
		}
	}

	if f.fault != nil {
		f.begin, f.end = func(s *failing) { s.fail(f.fault) }, (*failing).clear
	}
	f.begin(s)
	if got := harness.Read(t, s.Path("fresh")); got != "fresh" {
		t.Errorf("a fresh file reads %q", got)
	}
	s.WaitLog(t, "msg=open", "path=fresh.cipher", "result=ok", "cached=true")

	begun := time.Now()
	b, err := os.ReadFile(s.Path("never"))
	if took := time.Since(begun); took > failingTimeout+looseBound {
		t.Errorf("an open took %v", took)
	}
	switch {
	case f.never == 0 && (err != nil || string(b) != secretOfNever):
		t.Errorf("a file never read: %q, %v", b, err)
	case f.never != 0 && !errors.Is(err, f.never):
		t.Errorf("a file never read: %q, %v; want %v", b, err, f.never)
	}
	// The runtime's own signals interrupt opens, which then begin again: those
	// have lines, too.
	said := []string{"msg=open", "path=never.cipher", "level=INFO", "result=ok"}
	if f.never != 0 {
		said = []string{"msg=open", "path=never.cipher", "level=WARN", fmt.Sprintf(`result="%d=`, int(f.never))}
	}
	line := s.WaitLog(t, said...)
	for _, w := range f.words {
		if !strings.Contains(line, w) {
			t.Errorf("the log does not say %q: %s", w, line)
		}
	}
	if requestID.MatchString(line) != f.requestID && f.never != 0 && !strings.Contains(line, "RequestId raw-answer") {
		t.Errorf("RequestId is there: %t, want %t: %s", !f.requestID, f.requestID, line)
	}

	for name, dead := range map[string]bool{"fresh": f.purges, "other": false} {
		b, err := os.ReadFile(s.Path(name))
		if dead && !errors.Is(err, f.never) || !dead && (err != nil || string(b) != secrets[name]) {
			t.Errorf("%s, after the failure was seen: %q, %v", name, b, err)
		}
	}

	if f.never != syscall.EBADMSG { // else nothing is wrong with the old file
		f.checkOld(s)
	}
	f.end(s)
	if f.past != 0 && f.past != syscall.EIO {
		f.checkDropped(s)
	}
	for name, want := range secrets {
		s.recovers(s.Path(name), want)
	}
	s.recovers(s.brief.Path("old"), secretOfOld)
}

// checkOld is about a file past its TTL.
func (f failure) checkOld(s *failing) {
	harness.Eventually(s.T, "the old file is past its TTL", func() bool { return harness.StatusOf(s.T, s.Lab, s.brief.Point).Cache.Stale > 0 })
	begun := time.Now()
	b, err := os.ReadFile(s.brief.Path("old"))
	if took := time.Since(begun); took > staleBound {
		s.Errorf("an open of an old file took %v", took)
	}
	if f.past == 0 {
		if err != nil || string(b) != secretOfOld {
			s.Fatalf("an old file: %q, %v\n%s", b, err, s.brief.Tail())
		}
		s.brief.WaitLog(s.T, "msg=open", "path=old.cipher", "result=ok", "stale=true")
		s.brief.WaitLog(s.T, "level=WARN", "stale plaintext is served", "path=old.cipher")
		return
	}
	if !errors.Is(err, f.past) {
		s.Errorf("an old file: %q, %v; want %v", b, err, f.past)
	}
}

// checkDropped is about an old file that was refused: without an answer it is
// not served any more.
func (f failure) checkDropped(s *failing) {
	s.fail(map[string]any{"status": 503})
	harness.Eventually(s.T, "the refusal is forgotten", func() bool {
		b, err := os.ReadFile(s.brief.Path("old"))
		if err == nil {
			s.Fatalf("what was refused, without the service: %q", b)
		}
		return errors.Is(err, syscall.EIO)
	})
	s.clear()
}

// requestID is how the log names a call.
var requestID = regexp.MustCompile(`RequestId [0-9A-Fa-f]{8}-[0-9A-Fa-f-]{27}`)

// recovers waits until a file can be read again: what failed is left alone for
// a moment.
func (s *failing) recovers(path, want string) {
	s.T.Helper()
	harness.Eventually(s.T, path+" reads after the failure", func() bool {
		b, err := os.ReadFile(path)
		if err == nil && string(b) != want {
			s.Fatalf("%s, after the failure: %q", path, b)
		}
		return err == nil
	}, s.Tail)
}
