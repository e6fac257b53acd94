package aliyun

import (
	"fmt"
	"os"
	"testing"

	"go.uber.org/goleak"
)

// Nothing of the machine's configuration may reach a test, and no goroutine
// may outlive them.
func TestMain(m *testing.M) {
	if child := os.Getenv("KMSFS_TEST_CHILD"); child != "" {
		runChild(child)
		return
	}
	os.Setenv("ALIBABA_CLOUD_ECS_METADATA_DISABLED", "true")
	os.Setenv("HOME", "")
	for _, name := range []string{
		"DEBUG", "GODEBUG", "SSL_CERT_FILE", "SSL_CERT_DIR",
		"HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "NO_PROXY", "no_proxy",
	} {
		os.Unsetenv(name)
	}
	if os.Getenv(aloneEnv) != "" {
		if err := enterAlone(); err != nil {
			fmt.Println("enter a network of our own:", err)
			os.Exit(1)
		}
	}
	goleak.VerifyTestMain(m)
}
