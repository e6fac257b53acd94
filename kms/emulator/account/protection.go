package account

import (
	"strings"

	"github.com/kmsfs/kmsfs/kms/emulator/wire"
)

// setDeletionProtection takes an ARN and no other form (documented).
func (a *Account) setDeletionProtection(v view, p wire.Params) (wire.Reply, error) {
	arn, err := p.Need("ProtectedResourceArn")
	if err != nil {
		return nil, err
	}
	if _, err := p.Need("EnableDeletionProtection"); err != nil {
		return nil, err
	}
	protect, err := p.Boolean("EnableDeletionProtection")
	if err != nil {
		return nil, err
	}
	if !strings.HasPrefix(arn, "acs:kms:") {
		return nil, wire.Invalid("ProtectedResourceArn")
	}
	k, err := a.find(v, arn, false)
	if err != nil {
		return nil, err
	}
	if k.State == statePendingDeletion {
		return nil, wire.ErrPendingDeletion
	}
	k.Protected, k.ProtectionComment = protect, ""
	if protect {
		k.ProtectionComment = p["DeletionProtectionDescription"]
	}
	return wire.Reply{}, v.putKey(k)
}
