package aliyun

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/kmsfs/kmsfs/kms"
	"github.com/kmsfs/kmsfs/kms/aliyun/cloudtest"
	"github.com/kmsfs/kmsfs/kms/aliyun/credentials"
	"github.com/kmsfs/kmsfs/kms/emulator"
)

// What cannot be asked for is not sent.
func TestKeyCallsNotSent(t *testing.T) {
	c, _ := service(t, func(http.ResponseWriter, *http.Request) { t.Error("a request was sent") })
	ctx := context.Background()
	for name, call := range map[string]func() error{
		"page":      func() error { _, err := c.ListKeys(ctx, -1, 1); return err },
		"size":      func() error { _, err := c.ListAliases(ctx, 1, 101); return err },
		"no size":   func() error { _, err := c.ListAliases(ctx, 1, -1); return err },
		"no key":    func() error { _, err := c.ListAliasesByKeyID(ctx, "", 1, 1); return err },
		"describe":  func() error { _, err := c.DescribeKey(ctx, ""); return err },
		"enable":    func() error { _, err := c.EnableKey(ctx, ""); return err },
		"disable":   func() error { _, err := c.DisableKey(ctx, ""); return err },
		"not UTF-8": func() error { _, err := c.DescribeKey(ctx, "\xff"); return err },
	} {
		cloudtest.WantClass(t, name, call(), kms.ErrInvalid)
	}
}

// An answer about a key that names none is no answer.
func TestDescribedKeyHasAName(t *testing.T) {
	c, _ := service(t, cloudtest.Answering(200, `{"RequestId":"r","KeyMetadata":{}}`))
	_, err := c.DescribeKey(context.Background(), keyID)
	cloudtest.WantClass(t, "no key", err, kms.ErrBadAnswer)
}

// A page of as many aliases as the service gives at once is read whole, also
// when each has the greatest length.
func TestLongestPage(t *testing.T) {
	dir := t.TempDir()
	s, err := emulator.New(emulator.Config{Listen: "127.0.0.1:0", State: dir + "/kms.db", CAOut: dir + "/ca.pem", AccessKeyID: accessKey, AccessKeySecret: secretKey})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- s.Serve(ctx) }()
	c := clientFor(t, strings.TrimPrefix(s.URL(), "https://"), dir+"/ca.pem", func(cfg *Config) {
		cfg.AllowEmulator = true
		cfg.Credentials = credentials.AccessKey{AccessKeyID: accessKey, AccessKeySecret: secretKey}
	})
	defer func() {
		c.Close()
		stop()
		if err := <-served; err != nil {
			t.Error(err)
		}
	}()
	raw, err := c.CreateKey(ctx, "")
	if err != nil {
		t.Fatal(err)
	}
	var made struct{ KeyMetadata struct{ KeyId string } }
	if err := json.Unmarshal(raw, &made); err != nil {
		t.Fatal(err)
	}
	for i := range maxPage {
		name := fmt.Sprintf("alias/%03d", i) + strings.Repeat("\U00020000", 252)
		if _, err := c.CreateAlias(ctx, name, made.KeyMetadata.KeyId); err != nil {
			t.Fatal(err)
		}
	}
	for name, list := range map[string]func() (json.RawMessage, error){
		"ListAliases":        func() (json.RawMessage, error) { return c.ListAliases(ctx, 1, maxPage) },
		"ListAliasesByKeyId": func() (json.RawMessage, error) { return c.ListAliasesByKeyID(ctx, made.KeyMetadata.KeyId, 1, maxPage) },
	} {
		raw, err := list()
		var page struct {
			Aliases struct{ Alias []struct{ AliasName string } }
		}
		if err == nil {
			err = json.Unmarshal(raw, &page)
		}
		if err != nil || len(page.Aliases.Alias) != maxPage || len(raw) <= maxAnswer {
			t.Errorf("%s: %d aliases in %d bytes, %v", name, len(page.Aliases.Alias), len(raw), err)
		}
	}
	// No other answer may be as long.
	c, _ = service(t, cloudtest.Answering(200, `{"RequestId":"r","KeyMetadata":{"KeyId":"k"},"x":"`+strings.Repeat("x", maxAnswer)+`"}`))
	_, err = c.DescribeKey(ctx, keyID)
	cloudtest.WantClass(t, "describe", err, kms.ErrBadAnswer)
	c, _ = service(t, cloudtest.Answering(200, `{"RequestId":"r","x":"`+strings.Repeat("x", maxList)+`"}`))
	_, err = c.ListKeys(ctx, 1, 1)
	cloudtest.WantClass(t, "list", err, kms.ErrBadAnswer)
}
