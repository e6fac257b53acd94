package aliyun

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
)

// The cost of a Decrypt on loopback, server included, beside the same exchange
// of bytes by net/http alone. The number counts goroutines per processor.
func BenchmarkDecrypt(b *testing.B) {
	blob := blobOf(b, 1704)
	for _, g := range []int{1, 8, 64} {
		c, s := service(b, func(w http.ResponseWriter, r *http.Request) {
			io.Copy(io.Discard, r.Body)
			answering(200, decryptAnswer(strings.Repeat("x", 1704)))(w, r)
		}, func(c *Config) { c.MaxConns = 64 })
		run := func(name string, call func() error) {
			b.Run(fmt.Sprintf("%s/%d", name, g), func(b *testing.B) {
				b.ReportAllocs()
				b.SetParallelism(g)
				b.RunParallel(func(pb *testing.PB) {
					for pb.Next() {
						if err := call(); err != nil {
							b.Error(err)
						}
					}
				})
			})
		}
		run("client", func() error {
			d, err := c.Decrypt(context.Background(), blob, nil)
			if err == nil {
				d.Wipe()
			}
			return err
		})
		form := url.Values{"CiphertextBlob": {blob.Text}, "Action": {"Decrypt"}, "Signature": {"x"}}.Encode()
		plain := &http.Client{Transport: c.pooled}
		run("net-http", func() error {
			resp, err := plain.Post(s.URL, "application/x-www-form-urlencoded", strings.NewReader(form))
			if err != nil {
				return err
			}
			defer resp.Body.Close()
			_, err = io.Copy(io.Discard, resp.Body)
			return err
		})
	}
}
