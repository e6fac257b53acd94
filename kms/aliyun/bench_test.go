package aliyun

import (
	"cmp"
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha1"
	"crypto/tls"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/kmsfs/kmsfs/kms/aliyun/cloudtest"
)

// BenchmarkDecrypt decrypts a blob of 1704 bytes over TLS: through the client
// with its default settings, and by a loop that signs by hand and leaves the
// rest to net/http, which is about the least that such a call can cost. The
// two take turns in short rounds, and ×hand-signed is the median of the
// rounds' ratios: a machine whose speed drifts does not change it. The server
// shares the machine and checks every signature, which is in both times.
func BenchmarkDecrypt(b *testing.B) {
	for _, goroutines := range []int{1, 8, 64} {
		b.Run(fmt.Sprintf("goroutines=%d", goroutines), func(b *testing.B) { benchmarkDecrypt(b, goroutines) })
	}
}

func benchmarkDecrypt(b *testing.B, goroutines int) {
	// A server for each, so that no handshake is counted for the other.
	blob := blobOf(b, 1704)
	s, sHand := newCountedServer(b, blob.Text), newCountedServer(b, blob.Text)
	c := clientFor(b, s.endpoint(), caFile(b, s.Server))
	client := func() error {
		d, err := c.Decrypt(context.Background(), blob, nil)
		if err == nil {
			d.Wipe()
		}
		return err
	}
	plain := &http.Client{Transport: clientFor(b, sHand.endpoint(), caFile(b, sHand.Server)).pooled}
	hand := func() error { return decryptByHand(plain, sHand.endpoint(), blob.Text) }

	// All connections are made before the first turn: as many for one as for
	// the other, and what is counted later is one that was not kept.
	connections := min(goroutines, c.cfg.maxConns())
	s.connect(b, connections, client)
	sHand.connect(b, connections, hand)
	if s.request != sHand.request {
		b.Fatalf("the client sends %s\nby hand it is %s", s.request, sHand.request)
	}

	const each = 256 // calls per turn
	var times, handTimes, ratios []float64
	for b.Loop() {
		t, u := turn(b, goroutines, each, client), turn(b, goroutines, each, hand)
		times, handTimes, ratios = append(times, t), append(handTimes, u), append(ratios, t/u)
	}
	if n := sHand.handshakes.Load(); n != int64(connections) {
		b.Errorf("by hand it took %d handshakes for %d connections: the two cannot be compared", n, connections)
	}
	again := s.handshakes.Load() - int64(connections)
	b.ReportMetric(0, "ns/op") // a round of both means nothing
	b.ReportMetric(each/median(times), "calls/s")
	b.ReportMetric(each/median(handTimes), "hand-calls/s")
	b.ReportMetric(median(ratios), "×hand-signed")
	b.ReportMetric(1000*float64(again)/float64(each*len(times)), "handshakes/1000")
}

// turn shares calls among goroutines and returns the seconds they took.
func turn(b *testing.B, goroutines, calls int, call func() error) float64 {
	var left atomic.Int64
	left.Store(int64(calls))
	var wg sync.WaitGroup
	begun := time.Now()
	for range goroutines {
		wg.Go(func() {
			for left.Add(-1) >= 0 {
				if err := call(); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	seconds := time.Since(begun).Seconds()
	if b.Failed() {
		b.FailNow()
	}
	return seconds
}

func median(v []float64) float64 {
	s := slices.Clone(v)
	slices.SortFunc(s, cmp.Compare)
	return s[len(s)/2]
}

// decryptByHand signs with all that is known about the parameters in advance:
// they stand here in their order, and none of them has a space, which is all
// that url.QueryEscape writes otherwise than the signature wants it. Of the
// answer it looks at nothing but the status.
func decryptByHand(client *http.Client, endpoint, blob string) error {
	var nonce [16]byte
	rand.Read(nonce[:])
	first := "AccessKeyId=" + accessKey + "&Action=Decrypt"
	body := "CiphertextBlob=" + url.QueryEscape(blob)
	last := "&Format=JSON&RegionId=cn-hangzhou&SecurityToken=" + token +
		"&SignatureMethod=HMAC-SHA1&SignatureNonce=" + hex.EncodeToString(nonce[:]) + "&SignatureType=&SignatureVersion=1.0" +
		"&Timestamp=" + url.QueryEscape(time.Now().UTC().Format(time.RFC3339)) + "&Version=2016-01-20"
	mac := hmac.New(sha1.New, []byte(secretKey+"&"))
	io.WriteString(mac, "POST&%2F&"+url.QueryEscape(first+"&"+body+last))
	signature := base64.StdEncoding.EncodeToString(mac.Sum(nil))
	resp, err := client.Post("https://"+endpoint+"/?"+first+last+"&Signature="+url.QueryEscape(signature),
		"application/x-www-form-urlencoded", strings.NewReader(body))
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("by hand: %s", resp.Status)
	}
	_, err = io.Copy(io.Discard, resp.Body)
	return err
}

// countedServer is a KMS that decrypts one blob and counts TLS handshakes.
type countedServer struct {
	*httptest.Server
	handshakes atomic.Int64
	awaited    atomic.Int64  // requests that are to arrive before the first is answered
	arrived    chan struct{} // closed when they have
	arrive     func()
	first      sync.Once
	request    string // the first one's names in the query, and body
}

func newCountedServer(b *testing.B, blob string) *countedServer {
	answer := cloudtest.Answering(http.StatusOK, cloudtest.DecryptAnswer(strings.Repeat("x", 1704)))
	refuse := cloudtest.Answering(http.StatusBadRequest, `{"Code":"SignatureDoesNotMatch"}`)
	s := &countedServer{arrived: make(chan struct{})}
	s.arrive = sync.OnceFunc(func() { close(s.arrived) })
	s.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if s.awaited.Add(-1) <= 0 {
			s.arrive()
		}
		<-s.arrived
		if !signed(r) || r.Form.Get("Action") != "Decrypt" || r.PostForm.Get("CiphertextBlob") != blob {
			refuse(w, r)
			return
		}
		s.first.Do(func() {
			s.request = fmt.Sprint(slices.Sorted(maps.Keys(r.URL.Query())), r.PostForm.Encode())
		})
		answer(w, r)
	}))
	s.TLS = &tls.Config{GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
		s.handshakes.Add(1)
		return nil, nil // the server's own
	}}
	s.StartTLS()
	b.Cleanup(s.Close)
	return s
}

func (s *countedServer) endpoint() string { return s.Listener.Addr().String() }

// connect makes n connections, by n calls that are all answered after the last
// of them has arrived.
func (s *countedServer) connect(b *testing.B, n int, call func() error) {
	s.awaited.Store(int64(n))
	turn(b, n, n, func() error {
		err := call()
		if err != nil {
			s.arrive() // or the others wait for this one
		}
		return err
	})
}
