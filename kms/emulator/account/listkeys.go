package account

import (
	"encoding/json"
	"slices"

	"github.com/kmsfs/kmsfs/kms/emulator/wire"
)

// maxFilters bounds the Filters of ListKeys.
const maxFilters = 10

func (a *Account) listKeys(v view, p wire.Params) (wire.Reply, error) {
	paging, err := p.Paging(1)
	if err != nil {
		return nil, err
	}
	filters, err := parseFilters(p["Filters"])
	if err != nil {
		return nil, err
	}
	ks, err := v.keys()
	if err != nil {
		return nil, err
	}
	ks = slices.DeleteFunc(ks, func(k *key) bool { return !filters.match(a.metadata(k)) })
	list := []map[string]string{}
	for _, k := range wire.Page(ks, paging) {
		list = append(list, map[string]string{"KeyId": k.ID, "KeyArn": a.arn("key/" + k.ID)})
	}
	return paging.Counts(wire.Reply{"Keys": map[string]any{"Key": list}}, len(ks)), nil
}

// filters are those of ListKeys: a key must match every one, and a filter
// matches when any of its values does.
type filters []struct {
	Key    string
	Values []string
}

func parseFilters(text string) (filters, error) {
	if text == "" {
		return nil, nil
	}
	var fs filters
	if err := json.Unmarshal([]byte(text), &fs); err != nil || len(fs) > maxFilters {
		return nil, wire.Invalid("Filters")
	}
	for _, f := range fs {
		switch f.Key {
		case "KeyState", "KeySpec", "KeyUsage", "ProtectionLevel", "CreatorType":
		default:
			return nil, wire.Invalid("Filters")
		}
	}
	return fs, nil
}

func (fs filters) match(metadata map[string]string) bool {
	for _, f := range fs {
		has := metadata[f.Key]
		if f.Key == "CreatorType" {
			has = "User" // no cloud service creates keys here
		}
		if !slices.Contains(f.Values, has) {
			return false
		}
	}
	return true
}
