package credentials_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/kmsfs/kmsfs/integration/harness"
	"github.com/kmsfs/kmsfs/integration/lab"
)

// On an instance with a role nothing is configured: the instance is asked at the
// first read. Keys of two seconds rotate under eight readers, and not one read
// fails; then the role goes away for a moment, and when it is back all is well
// again without another mount.
func TestKeysOfARoleRotateUnderReaders(t *testing.T) {
	harness.NeedMount(t)
	admin := net.JoinHostPort(harness.FreeAddress(t))
	l := harness.NewLab(t, "--admin", admin)
	source := t.TempDir()
	const files = 64
	for n := range files {
		harness.Put(t, fmt.Sprintf("%s/%d.cipher", source, n), harness.Seal(t, l, fmt.Sprint("secret ", n)))
	}
	i := &instance{t: t, admin: "http://" + admin, life: "2s"}
	i.own(t, l.Endpoint)
	mnt, log, o := harness.TryMount(t, l, noCredentials(l, map[string]string{
		"ALIBABA_CLOUD_ECS_METADATA_DISABLED": "", "ALIBABA_CLOUD_REGION_ID": "", "HTTP_PROXY": "http://127.0.0.1:9",
	}), source, "ttl=1s,timeout=20s")
	if o.Code != 0 {
		t.Fatalf("exit code %d\n%s", o.Code, o.Stderr)
	}
	if i.asked.Load() != 0 {
		t.Error("mounting has asked the metadata service")
	}
	end := time.Now().Add(8 * time.Second)
	var reads atomic.Int32
	var wg sync.WaitGroup
	for r := range 8 {
		wg.Go(func() {
			for n := r; time.Now().Before(end); n += 8 {
				b, err := os.ReadFile(fmt.Sprintf("%s/%d", mnt, n%files))
				if err != nil || string(b) != fmt.Sprint("secret ", n%files) {
					t.Errorf("%q, %v", b, err)
					return
				}
				reads.Add(1)
			}
		})
	}
	wg.Wait()
	t.Logf("%d reads, %d keys", reads.Load(), i.issued.Load())
	if n := i.issued.Load(); n < 3 || n > 40 {
		t.Errorf("%d keys were issued for %d reads", n, reads.Load())
	}
	i.gone.Store(true)
	harness.Eventually(t, "no read without a role", func() bool {
		_, err := os.ReadFile(mnt + "/0")
		return err != nil
	})
	i.gone.Store(false)
	harness.Eventually(t, "reads once the role is back", func() bool {
		_, err := os.ReadFile(mnt + "/0")
		return err == nil
	}, func() string { return harness.Read(t, log) })
	if text := harness.Read(t, log); strings.Contains(text, "STS.") || strings.Contains(text, "CAIS") || !strings.Contains(text, "credentials could not be obtained") {
		t.Errorf("the log: %s", text)
	}
}

// instance is a metadata service for the emulator's temporary keys.
type instance struct {
	t           *testing.T
	admin, life string

	asked, issued atomic.Int32
	gone          atomic.Bool
}

// own puts this test's thread, and with it all programs it starts from now on,
// into a network of its own: loopback, the metadata service, and a relay to the
// emulator. Goroutines that serve them stay outside.
func (i *instance) own(t *testing.T, emulator string) {
	t.Helper()
	runtime.LockOSThread() // never unlocked: the thread ends with the test
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		if os.Getenv("CI") != "" {
			t.Fatalf("a network namespace is needed here: %v", err)
		}
		t.Skipf("SKIPPED, NOT TESTED: a network namespace is needed (%v)", err)
	}
	s, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(s)
	const metadata = "100.100.100.200"
	lo, _ := unix.NewIfreq("lo")
	lo.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	second, _ := unix.NewIfreq("lo:1")
	if err := unix.IoctlIfreq(s, unix.SIOCSIFFLAGS, lo); err != nil {
		t.Fatal(err)
	}
	if err := second.SetInet4Addr(net.ParseIP(metadata).To4()); err != nil {
		t.Fatal(err)
	}
	if err := unix.IoctlIfreq(s, unix.SIOCSIFADDR, second); err != nil {
		t.Fatal(err)
	}
	service, err := net.Listen("tcp", metadata+":80")
	if err != nil {
		t.Fatal(err)
	}
	relay, err := net.Listen("tcp", emulator)
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: i}
	var wg sync.WaitGroup
	wg.Go(func() { server.Serve(service) })
	wg.Go(func() { harness.Forward(relay, emulator) })
	t.Cleanup(func() {
		server.Close()
		relay.Close()
		wg.Wait()
	})
}

func (i *instance) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	i.asked.Add(1)
	switch {
	case r.Method == http.MethodPut && r.URL.Path == "/latest/api/token":
		io.WriteString(w, "session")
		return
	case r.Header.Get("X-aliyun-ecs-metadata-token") != "session" || i.gone.Load():
		http.NotFound(w, r)
		return
	}
	switch r.URL.Path {
	case "/latest/meta-data/region-id":
		io.WriteString(w, lab.Region)
	case "/latest/meta-data/ram/security-credentials/":
		io.WriteString(w, "web")
	case "/latest/meta-data/ram/security-credentials/web":
		i.issued.Add(1)
		resp, err := http.Post(i.admin+"/sts", "application/json", strings.NewReader(`{"ttl":"`+i.life+`"}`))
		if err != nil {
			i.t.Error(err)
			http.Error(w, "no emulator", http.StatusInternalServerError)
			return
		}
		defer resp.Body.Close()
		key := map[string]any{"Code": "Success"}
		if err := json.NewDecoder(resp.Body).Decode(&key); err != nil {
			i.t.Error(err)
		}
		json.NewEncoder(w).Encode(key)
	default:
		http.NotFound(w, r)
	}
}
