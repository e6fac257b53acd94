package control

import (
	"encoding/json"
	"strings"
	"testing"
	"time"
)

func TestASCIIJSON(t *testing.T) {
	in, err := json.Marshal("plain é \u009b \u202e \U0001f511 \x7f")
	if err != nil {
		t.Fatal(err)
	}
	out := ASCIIJSON(in)
	if strings.ContainsFunc(out, func(r rune) bool { return r < 0x20 || r > 0x7e }) {
		t.Errorf("%q", out)
	}
	var back string
	if err := json.Unmarshal([]byte(out), &back); err != nil || back != "plain é \u009b \u202e \U0001f511 \x7f" {
		t.Errorf("%q, %v", back, err)
	}
}

func TestPeopleReadRoundNumbers(t *testing.T) {
	for n, want := range map[int]string{0: "0 bytes", 1023: "1023 bytes", 1536: "1.5 KiB", 64 << 20: "64.0 MiB"} {
		if got := bytesOf(n); got != want {
			t.Errorf("%d: %s", n, got)
		}
	}
	for s, want := range map[float64]string{0: "0s", 59.6: "1m0s", 3601.2: "1h0m1s"} {
		if got := span(s).String(); got != want {
			t.Errorf("%v: %s", s, got)
		}
	}
}

// Whatever a name or an error holds, it begins no line of its own.
func TestPrintKeepsLines(t *testing.T) {
	s := Status{Source: "/a\nb", Mountpoint: "/c\x1b[0m", KMS: KMSStatus{Breaker: "open", BreakerSince: time.Unix(1000, 0)},
		Errors: []ErrorStatus{{Class: "x\ny", Path: "p\rq", Text: "t\nu", Last: time.Unix(1000, 0)}}, Warnings: []string{"w\nx"}}
	var out strings.Builder
	if err := s.Print(&out, time.Unix(1060, 0)); err != nil {
		t.Fatal(err)
	}
	got := out.String()
	if strings.Count(got, "\n") != 9 || strings.ContainsAny(got, "\r\x1b") || !strings.Contains(got, "open for 1m0s") {
		t.Errorf("%q", got)
	}
}
