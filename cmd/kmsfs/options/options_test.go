package options

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
	if len(Table) > maxOptions {
		t.Errorf("%d options, at most %d are affordable", len(Table), maxOptions)
	}
	seen := map[string]bool{}
	for _, o := range Table {
		if seen[o.Key] {
			t.Errorf("%s is there twice", o.Key)
		}
		seen[o.Key] = true
		if strings.ContainsAny(o.Key, "-, ") || o.Help == "" || strings.HasSuffix(o.Help, ".") {
			t.Errorf("%s: %q", o.Key, o.Help)
		}
	}
	s, err := Defaults()
	if err != nil {
		t.Fatal(err)
	}
	if s.TTL != time.Minute || s.Refresh != 15*time.Second || s.Stale != 0 || s.Timeout != 10*time.Second || s.CacheSize != 64<<20 || s.FileMode != 0o400 || s.DirMode != 0o500 || int(s.UID) != os.Geteuid() || s.Fast {
		t.Errorf("defaults: %+v", s)
	}
}

func TestSetList(t *testing.T) {
	s, err := Defaults()
	if err != nil {
		t.Fatal(err)
	}
	err = s.SetList("rw,nosuid,x-systemd.automount,ttl=5m,,cache_size=128K,file_mode=0440,vpc,allow_other=true,allow_other=false,endpoint=h:1,ttl=7m")
	if err != nil {
		t.Fatal(err)
	}
	if s.TTL != 7*time.Minute || s.CacheSize != 128<<10 || s.FileMode != 0o440 || !s.VPC || s.AllowOther || s.Endpoint != "h:1" {
		t.Errorf("%+v", s)
	}
	for _, bad := range []string{"frob", "ttl", "ttl=", "ttl=0s", "ttl=25h", "ttl=x", "=x", "refresh=on", "refresh=-1s", "stale=25h", "stale", "cache_size=1", "cache_size=9999999G", "cache_size=-1", "cache_size=1TiB", "file_mode=1000",
		"file_mode=rw", "uid=-1", "uid=4294967295", "uid=nobody-at-all", "gid=no group", "remount=1", "vpc=maybe", "plain=maybe", "open=quick", "region=", "region=a\nb", "region=a\x7f", "TTL=5s"} {
		var f *ui.Failure
		if err := s.SetList(bad); !errors.As(err, &f) || f.Class != ui.Misused {
			t.Errorf("%q: %v, want a usage error", bad, err)
		}
	}
}

func TestOwners(t *testing.T) {
	s := &Settings{}
	if err := s.SetList("uid=root,gid=daemon,user=alice"); err != nil || s.UID != 0 || s.GID != 1 {
		t.Errorf("%d %d, %v", s.UID, s.GID, err)
	}
	if err := s.SetList("uid=65534,gid=4294967294"); err != nil || s.UID != 65534 || s.GID != 4294967294 {
		t.Errorf("%d %d, %v", s.UID, s.GID, err)
	}
	s.Sloppy = true
	if err := s.SetList("frob,uid=0,knob=1"); err != nil || s.UID != 0 {
		t.Errorf("sloppy: %d, %v", s.UID, err)
	}
	var f *ui.Failure
	if err := s.SetList("remount,rw"); !errors.As(err, &f) || f.Class != ui.Ordinary {
		t.Errorf("remount: %v", err)
	}
}

func FuzzSetList(f *testing.F) {
	f.Add("ttl=5m,vpc,cache_size=64MiB")
	f.Fuzz(func(t *testing.T, list string) {
		s, err := Defaults()
		if err != nil {
			t.Fatal(err)
		}
		if s.SetList(list) == nil && (s.TTL < time.Second || s.CacheSize < 64<<10 || s.FileMode > 0o777 || strings.ContainsAny(s.Endpoint+s.Region, "\n\x00,")) {
			t.Fatalf("%q gives %+v", list, s)
		}
	})
}
