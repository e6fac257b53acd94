package churn_test

import (
	"testing"

	"github.com/kmsfs/kmsfs/integration/harness"
)

func TestMain(m *testing.M) { harness.Main(m) }
