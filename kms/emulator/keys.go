package emulator

import (
	"crypto/rand"
	"encoding/json"
	"math"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

const (
	keySpec  = "Aliyun_AES_256"
	keyUsage = "ENCRYPT/DECRYPT"
	keyBytes = 32

	maxDescription = 8192 // characters
	maxFilters     = 10
)

// resolve returns the key that a KeyId parameter names: by id or ARN, and
// where the action documents it by alias or the ARN of one. Another account's
// or region's ARN names nothing here.
func (a *account) resolve(v view, p params, aliasOK bool) (*key, error) {
	id, err := p.need("KeyId")
	if err != nil {
		return nil, err
	}
	if rest, ok := strings.CutPrefix(id, a.arn("")); ok {
		id = rest
		if name, ok := strings.CutPrefix(rest, "key/"); ok {
			id = name
		} else if !strings.HasPrefix(rest, "alias/") {
			return nil, errKeyNotFound
		}
	}
	if strings.HasPrefix(id, "alias/") {
		if !aliasOK {
			return nil, errUnsupportedAlias
		}
		return v.alias(id)
	}
	if id == "" {
		return nil, errKeyNotFound
	}
	return v.key(id)
}

// metadata is KeyMetadata: every member is a string.
func (a *account) metadata(k *key) map[string]string {
	deleted := ""
	if k.State == statePendingDeletion {
		deleted = k.Deleted.Format(timeLayout)
	}
	created := k.Created.Format(timeLayout)
	return map[string]string{
		"KeyId":              k.ID,
		"Arn":                a.arn("key/" + k.ID),
		"KeyState":           k.State,
		"KeyUsage":           keyUsage,
		"KeySpec":            keySpec,
		"Origin":             "Aliyun_KMS",
		"ProtectionLevel":    k.Protection,
		"Creator":            accountID,
		"CreationDate":       created,
		"DeleteDate":         deleted,
		"Description":        k.Description,
		"MaterialExpireTime": "",
		"PrimaryKeyVersion":  k.PrimaryVersion,
		"LastRotationDate":   created,
		"AutomaticRotation":  "Disabled",
	}
}

func (a *account) createKey(v view, p params) (reply, error) {
	if utf8.RuneCountInString(p["Description"]) > maxDescription {
		return nil, errInvalid("Description")
	}
	spec, err := p.oneOf("KeySpec", keySpec, "Aliyun_AES_256", "Aliyun_AES_192", "Aliyun_AES_128", "Aliyun_SM4",
		"RSA_2048", "RSA_3072", "RSA_4096", "EC_P256", "EC_P256K", "EC_SM2")
	if err != nil {
		return nil, err
	}
	usage, err := p.oneOf("KeyUsage", keyUsage, keyUsage, "SIGN/VERIFY")
	if err != nil {
		return nil, err
	}
	origin, err := p.oneOf("Origin", "Aliyun_KMS", "Aliyun_KMS", "EXTERNAL")
	if err != nil {
		return nil, err
	}
	protection, err := p.oneOf("ProtectionLevel", "SOFTWARE", "SOFTWARE", "HSM")
	if err != nil {
		return nil, err
	}
	rotates, err := p.boolean("EnableAutomaticRotation")
	if err != nil {
		return nil, err
	}
	if spec != keySpec || usage != keyUsage || origin != "Aliyun_KMS" || rotates {
		// Real, but not emulated.
		return nil, errUnsupported
	}
	sequence, err := v.tx.Bucket(bucketKeys).NextSequence()
	if err != nil {
		return nil, err
	}
	now := v.now.UTC().Truncate(time.Second)
	k := &key{
		ID:             newUUID(),
		Sequence:       sequence,
		State:          stateEnabled,
		Description:    p["Description"],
		Protection:     protection,
		PrimaryVersion: newUUID(),
		Created:        now,
	}
	kv := &version{KeyID: k.ID, Material: make([]byte, keyBytes), Created: now}
	rand.Read(kv.Material) // never fails
	if err := v.putVersion(k.PrimaryVersion, kv); err != nil {
		return nil, err
	}
	if err := v.putKey(k); err != nil {
		return nil, err
	}
	return reply{"KeyMetadata": a.metadata(k)}, nil
}

func (a *account) describeKey(v view, p params) (reply, error) {
	k, err := a.resolve(v, p, true)
	if err != nil {
		return nil, err
	}
	m := a.metadata(k)
	m["DeletionProtection"] = "Disabled"
	return reply{"KeyMetadata": m}, nil
}

func (a *account) listKeys(v view, p params) (reply, error) {
	number, err := p.number("PageNumber", 1, 1, math.MaxInt32)
	if err != nil {
		return nil, err
	}
	size, err := p.number("PageSize", 10, 1, 100)
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
	for _, k := range page(ks, number, size) {
		list = append(list, map[string]string{"KeyId": k.ID, "KeyArn": a.arn("key/" + k.ID)})
	}
	return reply{
		"Keys":       map[string]any{"Key": list},
		"TotalCount": len(ks), "PageNumber": number, "PageSize": size,
	}, nil
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
		return nil, errInvalid("Filters")
	}
	for _, f := range fs {
		switch f.Key {
		case "KeyState", "KeySpec", "KeyUsage", "ProtectionLevel", "CreatorType":
		default:
			return nil, errInvalid("Filters")
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
