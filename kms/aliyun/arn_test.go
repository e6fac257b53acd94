package aliyun

import (
	"slices"
	"testing"
)

func TestParseKeys(t *testing.T) {
	ids, aliases, err := ParseKeys([]string{"k1", "acs:kms:cn-hangzhou:123:key/k2", "alias/a", "acs:kms:cn-hangzhou:123:alias/b"})
	if err != nil || !slices.Equal(ids, []string{"k1", "k2"}) || !slices.Equal(aliases, []string{"alias/a", "alias/b"}) {
		t.Errorf("%q, %q, %v", ids, aliases, err)
	}
	for _, bad := range [][]string{nil, {""}, {"a b"}, {"acs:kms:x"}, {"acs:kms:cn:1:secret/x"}, {"acs:kms:cn:1:key/"}, {"alias/"}, {"ALIAS/a"}, {"acs:kms:cn:1:alias/"}} {
		if ids, aliases, err := ParseKeys(bad); err == nil {
			t.Errorf("%q is accepted as %q, %q", bad, ids, aliases)
		}
	}
}
