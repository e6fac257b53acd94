package aliyun

import (
	"fmt"
	"os"
	"testing"

	"go.uber.org/goleak"

	"github.com/kmsfs/kmsfs/kms/aliyun/cloudtest"
)

// No goroutine may outlive the tests.
func TestMain(m *testing.M) {
	if child := os.Getenv("KMSFS_TEST_CHILD"); child != "" {
		runChild(child)
		return
	}
	if err := cloudtest.Isolate(); err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	goleak.VerifyTestMain(m)
}
