package account

import "github.com/kmsfs/kmsfs/kms/emulator/wire"

// Operation performs one action. It runs inside one transaction: read-only
// unless the table below says that it writes.
type Operation struct {
	// Crypto says that it counts towards the quota of cryptographic calls.
	Crypto bool
	// SharedOnly says that it is not for an instance's own endpoint
	// (documented).
	SharedOnly bool

	run    func(*Account, view, wire.Params) (wire.Reply, error)
	writes bool
	dryRun bool // DryRun is among its parameters
}

// Operations is every action that the emulator performs, by name. Nothing changes
// it.
var Operations = map[string]Operation{
	"CreateKey":             {run: (*Account).createKey, writes: true},
	"DescribeKey":           {run: (*Account).describeKey},
	"ListKeys":              {run: (*Account).listKeys},
	"UpdateKeyDescription":  {run: (*Account).updateKeyDescription, writes: true},
	"EnableKey":             {run: (*Account).enableKey, writes: true},
	"DisableKey":            {run: (*Account).disableKey, writes: true},
	"ScheduleKeyDeletion":   {run: (*Account).scheduleKeyDeletion, writes: true},
	"CancelKeyDeletion":     {run: (*Account).cancelKeyDeletion, writes: true},
	"SetDeletionProtection": {run: (*Account).setDeletionProtection, writes: true},

	"CreateAlias":        {run: (*Account).createAlias, writes: true},
	"UpdateAlias":        {run: (*Account).updateAlias, writes: true},
	"DeleteAlias":        {run: (*Account).deleteAlias, writes: true},
	"ListAliases":        {run: (*Account).listAliases},
	"ListAliasesByKeyId": {run: (*Account).listAliasesByKeyID},

	"CreateKeyVersion":     {run: (*Account).createKeyVersion, writes: true},
	"DescribeKeyVersion":   {run: (*Account).describeKeyVersion},
	"ListKeyVersions":      {run: (*Account).listKeyVersions},
	"UpdateRotationPolicy": {run: (*Account).updateRotationPolicy, writes: true},

	"Encrypt":                         {run: (*Account).encrypt, dryRun: true, Crypto: true},
	"Decrypt":                         {run: (*Account).decrypt, dryRun: true, Crypto: true},
	"ReEncrypt":                       {run: (*Account).reEncrypt, dryRun: true, Crypto: true, SharedOnly: true},
	"GenerateDataKey":                 {run: (*Account).generateDataKey, dryRun: true, Crypto: true},
	"GenerateDataKeyWithoutPlaintext": {run: (*Account).generateDataKeyWithoutPlaintext, dryRun: true, Crypto: true},

	"TagResource":      {run: (*Account).tagResource, writes: true},
	"UntagResource":    {run: (*Account).untagResource, writes: true},
	"ListResourceTags": {run: (*Account).listResourceTags},

	"DescribeRegions":          {run: (*Account).describeRegions},
	"DescribeAccountKmsStatus": {run: (*Account).describeAccountKmsStatus},
}
