package opening_test

import (
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/kmsfs/kmsfs/integration/harness"
)

// Replacements and reads race. Whatever a reader gets is one version, whole,
// with the size that fstat says; no reader gets an error.
func TestReplaceRacesShowOneVersionWhole(t *testing.T) {
	harness.EachMode(t, func(t *testing.T, mode string) {
		l := harness.NewLab(t)
		var plain, blobs []string
		for i := range 12 {
			plain = append(plain, harness.Lengthy(fmt.Sprintf("version %d", i), 100+i*457))
			blobs = append(blobs, harness.Seal(t, l, plain[i]))
		}
		for _, writer := range []struct {
			name  string
			write func(path, content string) error
		}{
			{"rename", func(path, content string) error {
				if err := os.WriteFile(path+"~", []byte(content), 0o600); err != nil {
					return err
				}
				return os.Rename(path+"~", path)
			}},
			{"in place", func(path, content string) error { return os.WriteFile(path, []byte(content), 0o600) }},
			{"in place, in pieces", func(path, content string) error {
				f, err := os.OpenFile(path, os.O_WRONLY|os.O_TRUNC, 0o600)
				if err != nil {
					return err
				}
				defer f.Close()
				for piece := range len(content)/1000 + 1 {
					if _, err := io.WriteString(f, content[piece*1000:min(len(content), piece*1000+1000)]); err != nil {
						return err
					}
				}
				return nil
			}},
		} {
			t.Run(writer.name, func(t *testing.T) {
				m := harness.Mount(t, l, "", mode, "ttl=1h")
				path := m.InSource("key.cipher")
				harness.Put(t, path, blobs[0])
				var replaced atomic.Int64
				stop := make(chan struct{})
				var writing, reading sync.WaitGroup
				writing.Go(func() {
					defer harness.Undisturbed(t)()
					for {
						select {
						case <-stop:
							return
						default:
						}
						if err := writer.write(path, blobs[rand.IntN(len(blobs))]); err != nil {
							t.Error(err)
							return
						}
						replaced.Add(1)
						time.Sleep(time.Duration(rand.IntN(2000)) * time.Microsecond) // the pace of the race, not a wait for anything
					}
				})
				for range 2 {
					reading.Go(func() {
						for i := 0; i < 1700 || replaced.Load() < 200; i++ {
							if err := harness.ReadAsOneOf(m.Path("key"), plain); err != nil {
								t.Errorf("read %d: %v", i, err)
								return
							}
						}
					})
				}
				reading.Wait()
				close(stop)
				writing.Wait()
			})
		}
	})
}
