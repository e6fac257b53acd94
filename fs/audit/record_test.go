package audit

import (
	"bytes"
	"errors"
	"log/slog"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/kmsfs/kmsfs/kms"
)

// A record has who, what and the result; what nobody knows is left out, and a
// name cannot begin another record.
func TestRecords(t *testing.T) {
	var out bytes.Buffer
	l := New(slog.New(slog.NewTextHandler(&out, nil)), false)
	who := Caller{UID: 33, GID: 34, TGID: 7}
	hash := [32]byte{0xab, 1}
	for _, c := range []struct {
		open Open
		want string
	}{
		{Open{Event: Opened, Begun: time.Now(), Caller: who, Path: "d/key"},
			`level=INFO msg=open uid=33 gid=34 tgid=7 path=d/key result=ok duration=DURATION`},
		{Open{Event: Opened, Begun: time.Now(), Caller: who, Path: "a\nlevel=INFO", Result: syscall.EACCES, Hash: hash,
			KeyVersion: "v", RequestID: "r", Cached: true, Stale: true, Err: errors.New("no\nway")},
			`level=WARN msg=open uid=33 gid=34 tgid=7 path="\"a\\nlevel=INFO\"" result="13=permission denied" duration=DURATION ciphertext=ab01000000000000 key_version=v cached=true stale=true request_id=r error="\"no\\nway\""`},
		{Open{Event: Decrypted, Begun: time.Now(), Path: "a", Hash: hash},
			`level=INFO msg=decrypt uid=0 gid=0 tgid=0 path=a result=ok duration=DURATION ciphertext=ab01000000000000 cached=false`},
		{Open{Event: Reread, Begun: time.Now(), Caller: who, Path: "a", Result: syscall.EIO, Err: errors.New("gone")},
			`level=WARN msg=read uid=33 gid=34 tgid=7 path=a result="5=input/output error" duration=DURATION error=gone`},
	} {
		out.Reset()
		if err := l.Record(c.open); err != nil {
			t.Error(err)
		}
		l.Flush()
		_, got, _ := strings.Cut(strings.TrimSuffix(out.String(), "\n"), " ") // without the time
		got = regexp.MustCompile(`duration=[0-9.]+ms`).ReplaceAllString(got, "duration=DURATION")
		if got != c.want {
			t.Errorf("%s\nwant\n%s", got, c.want)
		}
	}
}

// Failures are counted by class; the last of each is kept, in plain ASCII.
func TestFailures(t *testing.T) {
	l := New(slog.New(slog.DiscardHandler), true)
	denied := &kms.Error{Class: kms.ErrDenied, Action: "Decrypt", RequestID: "r1"}
	l.Failed("a", denied)
	l.Failed("b\n", denied)
	l.Failed("c", errors.New("else"))
	all := l.Failures()
	if len(all) != 2 || all[0].Class != "other" || all[0].Path != "c" || all[0].Count != 1 {
		t.Fatalf("%+v", all)
	}
	if f := all[1]; f.Class != kms.ClassName(denied) || f.Count != 2 || f.Path != `"b\n"` || f.RequestID != "r1" {
		t.Errorf("%+v", f)
	}
}

// Whatever a name holds, its printed form is plain ASCII and tells every byte.
func FuzzPrintable(f *testing.F) {
	for _, s := range []string{"key.pem", "a\nb", "\x1b[0m", "\u009b", "\u202e", "\xff", "\xfe", `"`, `\`, "é", ""} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		p := Printable(s)
		for _, c := range []byte(p) {
			if c < 0x20 || c > 0x7e {
				t.Fatalf("%q is printed with byte %#x", s, c)
			}
		}
		back := p
		if strings.HasPrefix(p, `"`) {
			var err error
			if back, err = strconv.Unquote(p); err != nil {
				t.Fatal(err)
			}
		}
		if back != s {
			t.Fatalf("%q is printed as %s", s, p)
		}
	})
}
