package credentials

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/kmsfs/kmsfs/kms"
	"github.com/kmsfs/kmsfs/kms/aliyun/cloudtest"
)

func find(t *testing.T, o Options, env map[string]string) *Source {
	t.Helper()
	o.Getenv = environ(env)
	s, err := Find(o)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// On an instance with a role nothing needs to be configured. The role's name
// may be given, and then is not asked for.
func TestInstanceRole(t *testing.T) {
	if !cloudtest.Alone(t) {
		return
	}
	i := &cloudtest.Instance{Mint: &cloudtest.Mint{Life: time.Hour}, T: t, Role: "web"}
	cloudtest.Listen(t, metadataHost+":80", i.Serve)
	for n, tt := range []struct {
		o    Options
		env  map[string]string
		list int
	}{
		{Options{}, nil, 1},
		{Options{RAMRole: "web"}, nil, 0},
		{Options{}, map[string]string{"ALIBABA_CLOUD_ECS_METADATA": "web"}, 0},
		{Options{}, map[string]string{"HOME": home(t, config("a", map[string]any{"name": "a", "mode": "ecsramrole", "ram_role_name": "web"}), "")}, 0},
		{Options{}, map[string]string{"HOME": home(t, "", "[default]\ntype=ecs_ram_role\nrole_name=web\n")}, 0},
	} {
		before := i.Asked("GET /latest/meta-data/ram/security-credentials/")
		s := find(t, tt.o, tt.env)
		if i.Count() != n {
			t.Fatalf("%d: asked by Find", n)
		}
		c, err := s.Retrieve(context.Background())
		want := i.Last()
		if err != nil || c != (AccessKey{want.AccessKeyId, want.AccessKeySecret, want.SecurityToken}) {
			t.Fatalf("%d: %v", n, err)
		}
		if !s.held.expires.Equal(want.Expires) {
			t.Errorf("%d: expires %v, want %v", n, s.held.expires, want.Expires)
		}
		if got := i.Asked("GET /latest/meta-data/ram/security-credentials/") - before; got != tt.list {
			t.Errorf("%d: the role was asked for %d times, want %d", n, got, tt.list)
		}
	}
	_, err := find(t, Options{RAMRole: "another"}, nil).Retrieve(context.Background())
	cloudtest.Clean(t, "another role", err)
	wantFault(t, "another role", err, kms.ErrAuthentication)
}

// A metadata service without session tokens is used only where that is asked
// for.
func TestIMDSv1(t *testing.T) {
	if !cloudtest.Alone(t) {
		return
	}
	i := &cloudtest.Instance{Mint: &cloudtest.Mint{Life: time.Hour}, T: t, Role: "web", V1: true}
	i.SetRegion("cn-test")
	cloudtest.Listen(t, metadataHost+":80", i.Serve)
	for value, allowed := range map[string]bool{"": false, "true": false, "0": false, "false": true, "False": true} {
		s := find(t, Options{}, map[string]string{"ALIBABA_CLOUD_IMDSV1_DISABLED": value})
		before := i.Asked("GET /latest/meta-data/ram/security-credentials/web") + i.Asked("GET /latest/meta-data/region-id")
		_, err := s.Retrieve(context.Background())
		region, regionErr := s.InstanceRegion(context.Background())
		if (err == nil) != allowed || (regionErr == nil) != allowed || allowed && region != "cn-test" {
			t.Errorf("%q: %v, %q, %v", value, err, region, regionErr)
		}
		if !allowed {
			cloudtest.Clean(t, value, err)
			cloudtest.Clean(t, value, regionErr)
			if i.Asked("GET /latest/meta-data/ram/security-credentials/web")+i.Asked("GET /latest/meta-data/region-id") != before {
				t.Errorf("%q: asked without a session", value)
			}
		}
	}
}

// However the metadata service misbehaves, it is told in our words.
func TestInstanceErrors(t *testing.T) {
	if !cloudtest.Alone(t) {
		return
	}
	k := (&cloudtest.Mint{Life: time.Hour}).Issue()
	answer := func(change func(map[string]any)) string {
		a := map[string]any{"Code": "Success", "AccessKeyId": k.AccessKeyId, "AccessKeySecret": k.AccessKeySecret, "SecurityToken": k.SecurityToken, "Expiration": k.Expiration}
		change(a)
		return cloudtest.JSON(a)
	}
	var serve http.HandlerFunc
	var mu sync.Mutex
	cloudtest.Listen(t, metadataHost+":80", func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPut {
			fmt.Fprint(w, "canarysession")
			return
		}
		mu.Lock()
		h := serve
		mu.Unlock()
		h(w, r)
	})
	for name, tt := range map[string]struct {
		h     http.HandlerFunc
		class error
		says  string
	}{
		"no role":     {cloudtest.Answering(404, "canary"), kms.ErrAuthentication, "does not have the role"},
		"refused":     {cloudtest.Answering(403, "canary"), kms.ErrAuthentication, "HTTP status 403"},
		"failing":     {cloudtest.Answering(502, "canary"), kms.ErrTransient, "HTTP status 502"},
		"HTML":        {cloudtest.Answering(200, "<html>canary"), kms.ErrTransient, "not JSON"},
		"no code":     {cloudtest.Answering(200, answer(func(a map[string]any) { delete(a, "Code") })), kms.ErrTransient, "lacks a member"},
		"no expiry":   {cloudtest.Answering(200, answer(func(a map[string]any) { delete(a, "Expiration") })), kms.ErrTransient, "lacks a member"},
		"odd expiry":  {cloudtest.Answering(200, answer(func(a map[string]any) { a["Expiration"] = "canary" })), kms.ErrTransient, "expiry is malformed"},
		"past expiry": {cloudtest.Answering(200, answer(func(a map[string]any) { a["Expiration"] = "2001-01-01T00:00:00Z" })), kms.ErrAuthentication, "expired already"},
		"no secret":   {cloudtest.Answering(200, answer(func(a map[string]any) { delete(a, "AccessKeySecret") })), kms.ErrTransient, "no credentials"},
		"failed":      {cloudtest.Answering(200, answer(func(a map[string]any) { a["Code"] = "canary" })), kms.ErrTransient, "none ready"},
		"odd secret":  {cloudtest.Answering(200, answer(func(a map[string]any) { a["AccessKeySecret"] = "canary\n" })), kms.ErrAuthentication, "white space"},
		"redirect": {func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "http://127.0.0.1:80/canary", http.StatusFound)
		}, kms.ErrTransient, "redirect"},
		"to itself": {func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/canary", http.StatusFound) }, kms.ErrTransient, "redirect"},
		"closed":    {func(w http.ResponseWriter, r *http.Request) { panic(http.ErrAbortHandler) }, kms.ErrTransient, "connection closed"},
		"slow":      {func(w http.ResponseWriter, r *http.Request) { <-r.Context().Done() }, kms.ErrTransient, "timed out"},
		"without an end": {func(w http.ResponseWriter, r *http.Request) {
			for r.Context().Err() == nil {
				fmt.Fprint(w, strings.Repeat("canary", 10))
				time.Sleep(time.Millisecond)
			}
		}, kms.ErrTransient, "timed out"},
	} {
		mu.Lock()
		serve = tt.h
		mu.Unlock()
		s := find(t, Options{RAMRole: "web"}, nil)
		begun := time.Now()
		_, err := s.Retrieve(context.Background())
		cloudtest.Clean(t, name, err)
		wantFault(t, name, err, tt.class)
		if !strings.Contains(err.Error(), tt.says) || time.Since(begun) > 5*time.Second {
			t.Errorf("%s: %v after %v, want %q", name, err, time.Since(begun), tt.says)
		}
		// The region is asked for by code of our own.
		if name != "odd secret" {
			_, err = s.InstanceRegion(context.Background())
			cloudtest.Clean(t, name+", region", err)
		}
	}
}

// Where nothing is at the address, that is soon known.
func TestNoInstance(t *testing.T) {
	if !cloudtest.Alone(t) {
		return
	}
	s := find(t, Options{}, nil)
	_, err := s.Retrieve(context.Background())
	cloudtest.Clean(t, "credentials", err)
	if err == nil || !strings.Contains(err.Error(), "connection refused") {
		t.Errorf("%v", err)
	}
	_, err = s.InstanceRegion(context.Background())
	cloudtest.Clean(t, "region", err)
	if err == nil || !strings.Contains(err.Error(), "connection refused") {
		t.Errorf("%v", err)
	}
}
