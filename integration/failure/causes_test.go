package failure_test

import (
	"encoding/base64"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/kmsfs/kmsfs/integration/clients"
	"github.com/kmsfs/kmsfs/integration/harness"
)

func (s *failing) must(err error) {
	s.T.Helper()
	if err != nil {
		s.Fatal(err)
	}
}

func (s *failing) fail(fault map[string]any) {
	with := map[string]any{"action": "Decrypt"}
	for k, v := range fault {
		with[k] = v
	}
	s.must(s.Fault(with))
}

func (s *failing) clear() { s.must(s.ClearFaults()) }

func (s *failing) stopService() { s.KillEmulator() }

func (s *failing) startService() { s.must(s.StartEmulator(s.Endpoint)) }

// answering makes the service answer with so many bytes more than there are.
func answering(more int) func(*failing) {
	return func(s *failing) {
		blob, err := base64.StdEncoding.DecodeString(strings.TrimSpace(s.never))
		s.must(err)
		s.fail(map[string]any{"raw": fmt.Sprintf(`{"KeyId":%q,"KeyVersionId":%q,"Plaintext":%q,"RequestId":"raw-answer"}`,
			s.key, blob[:36], (secretOfNever + "+")[:len(secretOfNever)+more])})
	}
}

func (s *failing) disableKey() { s.kmsfs("disable-key", s.key) }

func (s *failing) enableKey() { s.kmsfs("enable-key", s.key) }

func (s *failing) kmsfs(args ...string) {
	s.T.Helper()
	_, err := s.Kmsfs(nil, args...)
	s.must(err)
}

func (s *failing) deleteKey() {
	s.call("ScheduleKeyDeletion", "KeyId", s.key, "PendingWindowInDays", "7")
}

// keepKey takes the deletion back. The key is disabled then.
func (s *failing) keepKey() {
	s.call("CancelKeyDeletion", "KeyId", s.key)
	s.enableKey()
}

func (s *failing) call(action string, pairs ...string) {
	s.T.Helper()
	c, err := clients.SDK(harness.Target(s.T, s.Lab), "POST", "JSON")
	s.must(err)
	defer c.Close()
	harness.Ask(s.T, c, action, pairs...)
}

// damage changes one byte of the ciphertext, long enough ago that nobody takes
// it for a file that is being written.
func (s *failing) damage() {
	blob, err := base64.StdEncoding.DecodeString(strings.TrimSpace(s.never))
	s.must(err)
	blob[len(blob)-1] ^= 1
	harness.Put(s.T, s.InSource("never.cipher"), base64.StdEncoding.EncodeToString(blob))
}

func (s *failing) mend() { harness.Put(s.T, s.InSource("never.cipher"), s.never) }

// temporaryKey makes the mount use a key that ends soon.
func (s *failing) temporaryKey() []string {
	s.credentials = filepath.Join(s.TempDir(), "config.json")
	s.writeToken("4s")
	return []string{"credentials_file=" + s.credentials}
}

func (s *failing) expire() { <-time.After(time.Until(s.expires)) }

func (s *failing) renew() { s.writeToken("1h") }

func (s *failing) writeToken(life string) {
	s.T.Helper()
	k, err := s.Token(life)
	s.must(err)
	harness.Put(s.T, s.credentials, harness.ConfigJSON(s.T, map[string]string{"name": "p", "mode": "StsToken",
		"access_key_id": k.AccessKeyId, "access_key_secret": k.AccessKeySecret, "sts_token": k.SecurityToken}))
	s.expires = k.Expiration
}
