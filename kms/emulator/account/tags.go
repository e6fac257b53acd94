package account

import (
	"encoding/json"
	"maps"
	"slices"
	"unicode/utf8"

	"github.com/kmsfs/kmsfs/kms/emulator/wire"
)

// The limits of tags are not documented for KMS; chosen: those of most
// products.
const (
	maxTags    = 20
	maxTagText = 128 // characters of a name or a value
)

// parseTags reads [{"TagKey":"a","TagValue":"b"},…], or nothing.
func parseTags(text string) (map[string]string, error) {
	if text == "" {
		return nil, nil
	}
	var list []struct{ TagKey, TagValue string }
	if err := json.Unmarshal([]byte(text), &list); err != nil || len(list) == 0 {
		return nil, wire.Invalid("Tags")
	}
	tags := map[string]string{}
	for _, t := range list {
		_, twice := tags[t.TagKey]
		if twice || t.TagKey == "" || utf8.RuneCountInString(t.TagKey) > maxTagText || utf8.RuneCountInString(t.TagValue) > maxTagText {
			return nil, wire.Invalid("Tags")
		}
		tags[t.TagKey] = t.TagValue
	}
	if len(tags) > maxTags {
		return nil, wire.ErrLimit
	}
	return tags, nil
}

// tagged returns the key to tag. Secrets and certificates, which the same
// operations tag, do not exist here.
func (a *Account) tagged(v view, p wire.Params) (*key, error) {
	for _, other := range []string{"SecretName", "CertificateId"} {
		if p[other] != "" {
			return nil, wire.ErrUnsupported
		}
	}
	return a.resolve(v, p, false)
}

func (a *Account) tagResource(v view, p wire.Params) (wire.Reply, error) {
	if _, err := p.Need("Tags"); err != nil {
		return nil, err
	}
	tags, err := parseTags(p["Tags"])
	if err != nil {
		return nil, err
	}
	k, err := a.tagged(v, p)
	if err != nil {
		return nil, err
	}
	if k.Tags == nil {
		k.Tags = map[string]string{}
	}
	maps.Copy(k.Tags, tags)
	if len(k.Tags) > maxTags {
		return nil, wire.ErrLimit
	}
	return wire.Reply{}, v.putKey(k)
}

// untagResource takes names that the key does not have, too (not documented;
// chosen).
func (a *Account) untagResource(v view, p wire.Params) (wire.Reply, error) {
	text, err := p.Need("TagKeys")
	if err != nil {
		return nil, err
	}
	var names []string
	if err := json.Unmarshal([]byte(text), &names); err != nil || len(names) == 0 {
		return nil, wire.Invalid("TagKeys")
	}
	k, err := a.tagged(v, p)
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		delete(k.Tags, name)
	}
	return wire.Reply{}, v.putKey(k)
}

func (a *Account) listResourceTags(v view, p wire.Params) (wire.Reply, error) {
	k, err := a.tagged(v, p)
	if err != nil {
		return nil, err
	}
	list := []map[string]string{}
	for _, name := range slices.Sorted(maps.Keys(k.Tags)) {
		list = append(list, map[string]string{"KeyId": k.ID, "TagKey": name, "TagValue": k.Tags[name]})
	}
	return wire.Reply{"Tags": map[string]any{"Tag": list}}, nil
}
