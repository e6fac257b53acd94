package main

import (
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/kmsfs/kmsfs/cmd/kmsfs/ui"
)

// maxOptions is the budget: another option has to replace one.
const maxOptions = 35

func TestOptionTable(t *testing.T) {
	if len(options) > maxOptions {
		t.Errorf("%d options, at most %d are affordable", len(options), maxOptions)
	}
	seen := map[string]bool{}
	for _, o := range options {
		if seen[o.key] {
			t.Errorf("%s is there twice", o.key)
		}
		seen[o.key] = true
		if strings.ContainsAny(o.key, "-, ") || o.help == "" || strings.HasSuffix(o.help, ".") {
			t.Errorf("%s: %q", o.key, o.help)
		}
	}
	s, err := defaults()
	if err != nil {
		t.Fatal(err)
	}
	if s.ttl != time.Minute || s.refresh != 15*time.Second || s.stale != 0 || s.timeout != 10*time.Second || s.cacheSize != 64<<20 || s.fileMode != 0o400 || s.dirMode != 0o500 || int(s.uid) != os.Geteuid() || s.fast {
		t.Errorf("defaults: %+v", s)
	}
}

func TestSetList(t *testing.T) {
	s, err := defaults()
	if err != nil {
		t.Fatal(err)
	}
	err = s.setList("rw,nosuid,x-systemd.automount,ttl=5m,,cache_size=128K,file_mode=0440,vpc,allow_other=true,allow_other=false,endpoint=h:1,ttl=7m")
	if err != nil {
		t.Fatal(err)
	}
	if s.ttl != 7*time.Minute || s.cacheSize != 128<<10 || s.fileMode != 0o440 || !s.vpc || s.allowOther || s.endpoint != "h:1" {
		t.Errorf("%+v", s)
	}
	for _, bad := range []string{"frob", "ttl", "ttl=", "ttl=0s", "ttl=25h", "ttl=x", "=x", "refresh=on", "refresh=-1s", "stale=25h", "stale", "cache_size=1", "cache_size=9999999G", "cache_size=-1", "cache_size=1TiB", "file_mode=1000",
		"file_mode=rw", "uid=-1", "uid=4294967295", "uid=nobody-at-all", "gid=no group", "remount=1", "vpc=maybe", "plain=maybe", "open=quick", "region=", "region=a\nb", "region=a\x7f", "TTL=5s"} {
		var f *ui.Failure
		if err := s.setList(bad); !errors.As(err, &f) || f.Class != ui.Misused {
			t.Errorf("%q: %v, want a usage error", bad, err)
		}
	}
}

func TestOwners(t *testing.T) {
	s := &settings{}
	if err := s.setList("uid=root,gid=daemon,user=alice"); err != nil || s.uid != 0 || s.gid != 1 {
		t.Errorf("%d %d, %v", s.uid, s.gid, err)
	}
	if err := s.setList("uid=65534,gid=4294967294"); err != nil || s.uid != 65534 || s.gid != 4294967294 {
		t.Errorf("%d %d, %v", s.uid, s.gid, err)
	}
	s.sloppy = true
	if err := s.setList("frob,uid=0,knob=1"); err != nil || s.uid != 0 {
		t.Errorf("sloppy: %d, %v", s.uid, err)
	}
	var f *ui.Failure
	if err := s.setList("remount,rw"); !errors.As(err, &f) || f.Class != ui.Ordinary {
		t.Errorf("remount: %v", err)
	}
}

func FuzzSetList(f *testing.F) {
	f.Add("ttl=5m,vpc,cache_size=64MiB")
	f.Fuzz(func(t *testing.T, list string) {
		s, err := defaults()
		if err != nil {
			t.Fatal(err)
		}
		if s.setList(list) == nil && (s.ttl < time.Second || s.cacheSize < 64<<10 || s.fileMode > 0o777 || strings.ContainsAny(s.endpoint+s.region, "\n\x00,")) {
			t.Fatalf("%q gives %+v", list, s)
		}
	})
}
