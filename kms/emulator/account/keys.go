package account

import (
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/kmsfs/kmsfs/kms/emulator/wire"
)

const (
	keySpec  = "Aliyun_AES_256"
	keyUsage = "ENCRYPT/DECRYPT"
	keyBytes = 32

	maxDescription = 8192 // characters
)

// resolve returns the key that the KeyId parameter names.
func (a *Account) resolve(v view, p wire.Params, aliasOK bool) (*key, error) {
	id, err := p.Need("KeyId")
	if err != nil {
		return nil, err
	}
	return a.find(v, id, aliasOK)
}

// find returns a key by id or ARN, and where the action documents it by alias
// or the ARN of one. Another account's or region's ARN names nothing here.
func (a *Account) find(v view, id string, aliasOK bool) (*key, error) {
	if rest, ok := strings.CutPrefix(id, a.arn("")); ok {
		id = rest
		if name, ok := strings.CutPrefix(rest, "key/"); ok {
			id = name
		} else if !strings.HasPrefix(rest, "alias/") {
			return nil, wire.ErrKeyNotFound
		}
	}
	if strings.HasPrefix(id, "alias/") {
		if !aliasOK {
			return nil, wire.ErrUnsupportedAlias
		}
		return v.alias(id)
	}
	if id == "" {
		return nil, wire.ErrKeyNotFound
	}
	return v.key(id)
}

// metadata is KeyMetadata: every member is a string.
func (a *Account) metadata(k *key) map[string]string {
	deleted := ""
	if k.State == statePendingDeletion {
		deleted = k.Deleted.Format(wire.TimeLayout)
	}
	m := map[string]string{
		"KeyId":              k.ID,
		"Arn":                a.arn("key/" + k.ID),
		"KeyState":           k.State,
		"KeyUsage":           keyUsage,
		"KeySpec":            keySpec,
		"Origin":             "Aliyun_KMS",
		"ProtectionLevel":    k.Protection,
		"Creator":            ID,
		"CreationDate":       k.Created.Format(wire.TimeLayout),
		"DeleteDate":         deleted,
		"Description":        k.Description,
		"MaterialExpireTime": "",
		"PrimaryKeyVersion":  k.PrimaryVersion,
		"LastRotationDate":   k.Created.Format(wire.TimeLayout), // never rotated: as the service's samples have it
		"AutomaticRotation":  k.rotation(),
	}
	if !k.Rotated.IsZero() {
		m["LastRotationDate"] = k.Rotated.Format(wire.TimeLayout)
	}
	if k.rotation() != rotationDisabled {
		m["RotationInterval"] = strconv.FormatInt(k.RotationSeconds, 10) + "s"
	}
	if k.Instance != "" {
		m["DKMSInstanceId"] = k.Instance
	}
	if k.rotation() == rotationEnabled {
		m["NextRotationDate"] = k.NextRotation.Format(wire.TimeLayout)
	}
	return m
}

func (a *Account) createKey(v view, p wire.Params) (wire.Reply, error) {
	if utf8.RuneCountInString(p["Description"]) > maxDescription {
		return nil, wire.Invalid("Description")
	}
	spec, err := p.OneOf("KeySpec", keySpec, "Aliyun_AES_256", "Aliyun_AES_192", "Aliyun_AES_128", "Aliyun_SM4",
		"RSA_2048", "RSA_3072", "RSA_4096", "EC_P256", "EC_P256K", "EC_SM2")
	if err != nil {
		return nil, err
	}
	usage, err := p.OneOf("KeyUsage", keyUsage, keyUsage, "SIGN/VERIFY")
	if err != nil {
		return nil, err
	}
	origin, err := p.OneOf("Origin", "Aliyun_KMS", "Aliyun_KMS", "EXTERNAL")
	if err != nil {
		return nil, err
	}
	protection, err := p.OneOf("ProtectionLevel", "SOFTWARE", "SOFTWARE", "HSM")
	if err != nil {
		return nil, err
	}
	rotation, err := rotationPolicy(p)
	if err != nil {
		return nil, err
	}
	instance, err := a.instanceOf(p)
	if err != nil {
		return nil, err
	}
	tags, err := parseTags(p["Tags"])
	if err != nil {
		return nil, err
	}
	if spec != keySpec || usage != keyUsage || origin != "Aliyun_KMS" {
		// Real, but not emulated.
		return nil, wire.ErrUnsupported
	}
	sequence, err := v.tx.Bucket(bucketKeys).NextSequence()
	if err != nil {
		return nil, err
	}
	now := v.now.UTC().Truncate(time.Second)
	k := &key{
		ID:          a.newKeyID(sequence),
		Sequence:    sequence,
		State:       stateEnabled,
		Description: p["Description"],
		Protection:  protection,
		Created:     now,
		Instance:    instance,
		Tags:        tags,
	}
	if err := v.addVersion(k, now); err != nil {
		return nil, err
	}
	k.setRotation(rotation, now)
	if err := v.putKey(k); err != nil {
		return nil, err
	}
	return wire.Reply{"KeyMetadata": a.metadata(k)}, nil
}

func (a *Account) describeKey(v view, p wire.Params) (wire.Reply, error) {
	k, err := a.resolve(v, p, true)
	if err != nil {
		return nil, err
	}
	m := a.metadata(k)
	m["DeletionProtection"] = "Disabled"
	if k.Protected {
		m["DeletionProtection"] = "Enabled"
		m["DeletionProtectionDescription"] = k.ProtectionComment
	}
	return wire.Reply{"KeyMetadata": m}, nil
}

// updateKeyDescription replaces the description. That an empty one must be sent
// and is accepted, and that a key about to be deleted keeps its own, is not
// documented; chosen.
func (a *Account) updateKeyDescription(v view, p wire.Params) (wire.Reply, error) {
	text, sent := p["Description"]
	if !sent {
		return nil, wire.Missing("Description")
	}
	if utf8.RuneCountInString(text) > maxDescription {
		return nil, wire.Invalid("Description")
	}
	k, err := a.resolve(v, p, false)
	if err != nil {
		return nil, err
	}
	if k.State == statePendingDeletion {
		return nil, wire.ErrPendingDeletion
	}
	k.Description = text
	return wire.Reply{}, v.putKey(k)
}
