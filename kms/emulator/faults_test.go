package emulator_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// held waits until a fault holds n requests.
func (b *bench) held(n int) {
	b.t.Helper()
	for deadline := time.Now().Add(10 * time.Second); ; runtime.Gosched() {
		if got := b.admin("GET", "/faults", "").body["waiting"]; got == float64(n) {
			return
		} else if time.Now().After(deadline) {
			b.t.Fatalf("%v requests are held, want %d", got, n)
		}
	}
}

func TestFaultAnswers(t *testing.T) {
	b := start(t, t.TempDir())
	truth := b.call("DescribeKey", "KeyId", "x").raw
	for _, c := range []struct {
		fault  string
		status int
		check  func(r result) bool
	}{
		{`{"status":429,"code":"Rejected.Throttling","message":"QPS Limit Exceeded"}`, 429, func(r result) bool {
			return r.code() == "Rejected.Throttling" && r.str("Message") == "QPS Limit Exceeded" && r.body["HttpStatus"] == 429.0 && uuidForm.MatchString(r.str("RequestId"))
		}},
		{`{"code":"Throttling.User"}`, 400, func(r result) bool { return r.code() == "Throttling.User" }},
		{`{"status":503}`, 503, func(r result) bool { return r.code() == "ServiceUnavailableTemporary" }},
		{`{"status":500,"message":"m"}`, 500, func(r result) bool { return r.code() == "InternalFailure" && r.str("Message") == "m" }},
		{`{"raw":"<html>"}`, 200, func(r result) bool { return r.raw == "<html>" }},
		{`{"raw":"","status":502}`, 502, func(r result) bool { return r.raw == "" }},
		{`{"delay":"1ms"}`, 404, func(r result) bool { return len(r.raw) == len(truth) }},
		{`{"delay":"1ms","status":403,"code":"Forbidden.NoPermission"}`, 403, func(r result) bool { return r.code() == "Forbidden.NoPermission" }},
	} {
		b.fault(strings.TrimSuffix(c.fault, "}") + `,"count":1,"action":"DescribeKey"}`)
		b.ok("ListKeys") // another action
		if r := b.call("DescribeKey", "KeyId", "x"); r.status != c.status || !c.check(r) {
			t.Errorf("%s: %d %s", c.fault, r.status, r.raw)
		}
		b.refused(404, "Forbidden.KeyNotFound", "DescribeKey", "KeyId", "x") // used up
	}
}

func TestFaultOrderAndCount(t *testing.T) {
	b := start(t, t.TempDir())
	b.fault(`{"action":"ListKeys","count":2,"status":500,"code":"First"}`)
	b.fault(`{"count":1,"status":500,"code":"Second"}`)
	b.fault(`{"action":"ListKeys","status":500,"code":"Third"}`)
	for _, want := range []string{"First", "First", "Second", "Third", "Third", "Third"} {
		b.refused(500, want, "ListKeys")
	}
	b.ok("ListAliases")
	want := []any{map[string]any{"action": "ListKeys", "status": 500.0, "code": "Third"}}
	if d := cmp.Diff(want, b.admin("GET", "/faults", "").body["faults"]); d != "" {
		t.Errorf("faults left (-want +got):\n%s", d)
	}
	b.admin("DELETE", "/faults", "")
	b.ok("ListKeys")
	// A fault comes before the signature is looked at.
	b.fault(`{"count":1,"status":500,"code":"Early"}`)
	v := request("POST", "ListKeys")
	v.Set("Signature", "wrong")
	if r, err := b.send(v); err != nil || r.code() != "Early" {
		t.Errorf("%v %s", err, r.raw)
	}
}

func TestFaultConnections(t *testing.T) {
	b := start(t, t.TempDir())
	whole := len(b.ok("ListKeys").raw)
	for _, fault := range []string{`"close":true`, `"tls":"cut"`} {
		b.fault(`{"count":1,` + fault + `}`)
		if r, err := b.send(request("POST", "ListKeys")); err == nil {
			t.Errorf("%s: %d %q", fault, r.status, r.raw)
		}
		b.ok("ListKeys")
	}
	for _, c := range []struct {
		fault  string
		n, all int
	}{
		{`"truncate":0`, 0, whole},
		{`"truncate":20`, 20, whole},
		{`"truncate":3,"raw":"abcdef","status":500`, 3, 6},
	} {
		b.fault(`{"count":1,` + c.fault + `}`)
		r, err := b.send(request("POST", "ListKeys"))
		if !errors.Is(err, io.ErrUnexpectedEOF) || len(r.raw) != c.n {
			t.Errorf("%s: %v after %q", c.fault, err, r.raw)
		}
		if got := r.header.Get("Content-Length"); got != strconv.Itoa(c.all) {
			t.Errorf("%s: content length %s", c.fault, got)
		}
	}
	b.ok("ListKeys")
}

func TestFaultTLSCutIsInsideARecord(t *testing.T) {
	b := start(t, t.TempDir())
	b.fault(`{"tls":"cut"}`)
	// A clean end before any answer would be io.EOF.
	if _, err := b.send(request("POST", "ListKeys")); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("got %v", err)
	}
}

func TestFaultHang(t *testing.T) {
	b := start(t, t.TempDir())
	b.fault(`{"action":"ListKeys","hang":true,"count":8}`)
	var wg sync.WaitGroup
	hang := func(ctx context.Context, check func(result, error)) {
		wg.Go(func() {
			req, err := http.NewRequestWithContext(ctx, "POST", b.server.URL()+"/?"+request("POST", "ListKeys").Encode(), nil)
			if err != nil {
				t.Error(err)
				return
			}
			check(b.do(req))
		})
	}
	// Four whose clients give up.
	ctx, giveUp := context.WithCancel(context.Background())
	for range 4 {
		hang(ctx, func(r result, err error) {
			if !errors.Is(err, context.Canceled) {
				t.Errorf("%v %s", err, r.raw)
			}
		})
	}
	b.held(4)
	b.ok("ListAliases")
	giveUp()
	wg.Wait()
	b.held(0)
	// Four that the deletion of the fault releases, though its count is
	// used up and it is in no list any more.
	for range 4 {
		hang(context.Background(), func(r result, err error) {
			if err != nil || r.status != 200 {
				t.Errorf("%v %s", err, r.raw)
			}
		})
	}
	b.held(4)
	b.admin("DELETE", "/faults", "")
	wg.Wait()
	// A long delay ends with the fault, too.
	b.fault(`{"action":"ListKeys","delay":"1h","status":500,"code":"Never"}`)
	hang(context.Background(), func(r result, err error) {
		if err != nil || r.status != 200 {
			t.Errorf("%v %s", err, r.raw)
		}
	})
	b.held(1)
	b.admin("DELETE", "/faults", "")
	wg.Wait()
	// The end of the server ends what hangs.
	b.fault(`{"hang":true}`)
	hang(context.Background(), func(r result, err error) {
		if err == nil {
			t.Errorf("answered %d %s", r.status, r.raw)
		}
	})
	b.held(1)
	b.stop()
	wg.Wait()
}

func TestStats(t *testing.T) {
	b := start(t, t.TempDir())
	b.ok("ListKeys")
	b.fault(`{"count":1,"status":500}`)
	b.call("ListKeys") // faulted
	v := request("POST", "ListKeys")
	v.Set("Signature", "wrong")
	b.send(v) // refused
	b.call("Nonsense")
	b.call("Gibberish")
	b.call("Decrypt")
	want := map[string]any{"calls": map[string]any{"ListKeys": 3.0, "Decrypt": 1.0, "(unknown)": 2.0}}
	if d := cmp.Diff(want, b.admin("GET", "/stats", "").body); d != "" {
		t.Errorf("stats (-want +got):\n%s", d)
	}
	b.admin("DELETE", "/stats", "")
	if got := b.admin("GET", "/stats", "").raw; got != "{\"calls\":{}}\n" {
		t.Errorf("after the deletion: %s", got)
	}
}

func TestAdminRefuses(t *testing.T) {
	b := start(t, t.TempDir())
	for _, bad := range []string{
		``, `x`, `[]`, `{} {}`, `{}`, `{"count":3}`, `{"action":"Decrypt"}`, `{"hang":false}`,
		`{"colour":"red","close":true}`, `{"close":"yes"}`, `{"action":"decrypt-it","close":true}`,
		`{"count":0,"close":true}`, `{"count":-1,"close":true}`, `{"count":1.5,"close":true}`, `{"count":"3","close":true}`,
		`{"delay":300}`, `{"delay":"300"}`, `{"delay":"-1s"}`, `{"tls":"yes"}`, `{"truncate":-1}`,
		`{"status":99,"raw":""}`, `{"status":600,"raw":""}`, `{"status":200}`, `{"status":200,"code":"x"}`, `{"message":"x"}`,
		`{"close":true,"raw":"x"}`, `{"close":true,"tls":"cut"}`, `{"raw":"x","code":"y"}`, `{"close":true,"status":500}`, `{"tls":"cut","truncate":1}`,
	} {
		r := b.admin("POST", "/faults", bad)
		if r.status != 400 || r.str("error") == "" {
			t.Errorf("%s: %d %s", bad, r.status, r.raw)
		}
	}
	if r := b.admin("GET", "/faults", ""); r.raw != "{\"faults\":[],\"waiting\":0}\n" {
		t.Errorf("faults: %s", r.raw)
	}
	if r := b.admin("GET", "/nothing", ""); r.status != 404 {
		t.Errorf("unknown path: %d", r.status)
	}
	if r := b.admin("PUT", "/faults", ""); r.status != 405 {
		t.Errorf("unknown method: %d", r.status)
	}
}
