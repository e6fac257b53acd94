package aliyun

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/kmsfs/kmsfs/kms"
	"github.com/kmsfs/kmsfs/kms/aliyun/cloudtest"
)

// net/http and the SDK read the environment once in a process's life, and
// net/http never uses a proxy for loopback names. So these tests are a second
// process, whose output is looked at.

// runChild is that process: it makes a client, prints what it warns of, calls
// Decrypt and prints how that ends.
func runChild(endpoint string) {
	if step := os.Getenv("KMSFS_TEST_COPIES"); step != "" {
		runCopies(endpoint, step)
		return
	}
	c, err := New(Config{
		Region: "cn-hangzhou", Endpoint: endpoint, CAFile: os.Getenv("KMSFS_TEST_CA"),
		Credentials: someKey,
	})
	if err != nil {
		fmt.Println("new:", err)
		return
	}
	for _, w := range c.Warnings() {
		fmt.Println("warning:", w)
	}
	d, err := c.Decrypt(context.Background(), kms.Blob{Text: canaryBlob}, nil)
	if err != nil {
		fmt.Println("error:", err)
		return
	}
	fmt.Println("decrypted", len(d.Plaintext))
}

func child(t *testing.T, endpoint string, env ...string) string {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self)
	cmd.Env = append([]string{"KMSFS_TEST_CHILD=" + endpoint}, env...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Errorf("%v: %s", err, out)
	}
	for _, bad := range []string{"canary", accessKey, secretKey, token, canaryBlob} {
		if strings.Contains(string(out), bad) {
			t.Errorf("the output shows %q: %s", bad, out)
		}
	}
	return string(out)
}

// The proxy of the environment is used and named, without its password; its
// refusals, and an address that is none, are told without it as well.
func TestProxy(t *testing.T) {
	var asked string
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked = r.Method + " " + r.Host + " " + r.Header.Get("Proxy-Authorization")
		http.Error(w, "canary", http.StatusProxyAuthRequired)
	}))
	defer proxy.Close()
	addr := proxy.Listener.Addr().String()
	out := child(t, "kms.example:8443", "HTTPS_PROXY=http://canaryuser:canarypass@"+addr)
	for _, want := range []string{`proxy "` + addr + `" is in force`, "the proxy refused with HTTP status 407", kms.ErrTransient.Error()} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in %s", want, out)
		}
	}
	if !strings.HasPrefix(asked, "CONNECT kms.example:8443 Basic ") {
		t.Errorf("the proxy was asked %q", asked)
	}
	for name, value := range map[string]string{
		"unreachable": "http://canaryuser:canarypass@127.0.0.1:1",
		"no address":  "http://canaryuser:canary%pass@127.0.0.1:1/",
		"blank":       "http://canaryuser:canarypass@127.0.0.1:x y",
	} {
		out := child(t, "kms.example", "HTTPS_PROXY="+value)
		if !strings.Contains(out, "error: ") && !strings.Contains(out, "new: read proxy: ") {
			t.Errorf("%s: %s", name, out)
		}
	}
	if out := child(t, "kms.invalid", "NO_PROXY=*", "HTTPS_PROXY=http://canaryuser:canarypass@127.0.0.1:1"); strings.Contains(out, "proxy \"") {
		t.Errorf("NO_PROXY=*: %s", out)
	}
}

// Values of NO_PROXY and HTTPS_PROXY at which the SDK alone fails every call.
func TestNoProxyIsNoRegexp(t *testing.T) {
	c, _ := service(t, cloudtest.Answering(200, cloudtest.DecryptAnswer("x")))
	for _, value := range []string{"[::1", "+", "*", "(", "", ",", "\\"} {
		for _, name := range []string{"NO_PROXY", "no_proxy"} {
			t.Setenv(name, value)
		}
		t.Setenv("https_proxy", "http://user:canary%pass@[::1")
		if _, err := c.Decrypt(context.Background(), blobOf(t, 1), nil); err != nil {
			t.Errorf("NO_PROXY=%q: %v", value, err)
		}
	}
}

// The debugging switches stop the client before anything can be printed.
func TestDebugSwitches(t *testing.T) {
	s := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		t.Error("a request was sent")
		io.WriteString(w, cloudtest.DecryptAnswer(plaintext))
	}))
	defer s.Close()
	ca := "KMSFS_TEST_CA=" + caFile(t, s)
	for _, env := range []string{"DEBUG=sdk", "DEBUG=x,sdk", "GODEBUG=http2debug=2"} {
		if out := child(t, s.Listener.Addr().String(), ca, env); !strings.HasPrefix(out, "new: check environment: ") {
			t.Errorf("%s: %s", env, out)
		}
	}
}
