package emulator_test

import (
	"bytes"
	"log"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/aliyun/alibaba-cloud-sdk-go/services/kms"
	"github.com/google/go-cmp/cmp"
	"github.com/kmsfs/kmsfs/kms/emulator"
)

// sdkActions are the actions that the SDK's client has: it has a method
// XWithCallback for an action X.
func sdkActions() (actions []string) {
	client := reflect.TypeFor[*kms.Client]()
	for i := range client.NumMethod() {
		if action, ok := strings.CutSuffix(client.Method(i).Name, "WithCallback"); ok {
			actions = append(actions, action)
		}
	}
	return actions
}

// Whatever action the SDK has, it is either played or said to be lacking, and
// never taken for a misspelt one.
func TestEveryActionIsKnown(t *testing.T) {
	b := start(t, t.TempDir())
	actions := sdkActions()
	if len(actions) < 90 || !slices.Contains(actions, "GetSecretValue") {
		t.Fatalf("the SDK has %d actions: %v", len(actions), actions)
	}
	lacking := 0
	for _, action := range actions {
		r := b.call(action)
		switch r.code() {
		case "InvalidApi.NotFound":
			t.Errorf("%s: %d %s", action, r.status, r.raw)
		case "Emulator.NotEmulated":
			lacking++
		}
	}
	if lacking < 50 {
		t.Errorf("only %d are lacking", lacking)
	}
	if calls := b.admin("GET", "/stats", "").body["calls"].(map[string]any); calls["(unknown)"] != nil || len(calls) != len(actions) {
		t.Errorf("counted %v", calls)
	}
}

func TestNotEmulated(t *testing.T) {
	var said bytes.Buffer
	b := start(t, t.TempDir(), func(c *emulator.Config) { c.Log = log.New(&said, "", 0) })
	for range 3 {
		r := b.call("GetSecretValue", "SecretName", "s")
		if r.status != 400 || r.code() != "Emulator.NotEmulated" || !strings.Contains(r.str("Message"), "GetSecretValue") {
			t.Errorf("%d %s", r.status, r.raw)
		}
	}
	b.refused(400, "Emulator.NotEmulated", "TagResources")
	b.refused(404, "InvalidApi.NotFound", "GetSecretvalue")
	v := request("POST", "CreateSecret")
	v.Set("Signature", "x")
	if r, err := b.send(v); err != nil || r.code() != "SignatureDoesNotMatch" {
		t.Errorf("%v %s", err, r.raw)
	}
	b.fault(`{"action":"GetSecretValue","count":1,"status":503}`)
	b.refused(503, "ServiceUnavailableTemporary", "GetSecretValue")
	want := map[string]any{"GetSecretValue": 4.0, "TagResources": 1.0, "CreateSecret": 1.0, "(unknown)": 1.0}
	if d := cmp.Diff(want, b.admin("GET", "/stats", "").body["calls"]); d != "" {
		t.Errorf("stats (-want +got):\n%s", d)
	}
	b.stop()
	const line = " is an action of KMS that this emulator does not have; it answers Emulator.NotEmulated\n"
	if got := said.String(); got != "GetSecretValue"+line+"TagResources"+line {
		t.Errorf("said:\n%s", got)
	}
}
