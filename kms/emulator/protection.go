package emulator

import "strings"

// setDeletionProtection takes an ARN and no other form (documented).
func (a *account) setDeletionProtection(v view, p params) (reply, error) {
	arn, err := p.need("ProtectedResourceArn")
	if err != nil {
		return nil, err
	}
	if _, err := p.need("EnableDeletionProtection"); err != nil {
		return nil, err
	}
	protect, err := p.boolean("EnableDeletionProtection")
	if err != nil {
		return nil, err
	}
	if !strings.HasPrefix(arn, "acs:kms:") {
		return nil, errInvalid("ProtectedResourceArn")
	}
	k, err := a.find(v, arn, false)
	if err != nil {
		return nil, err
	}
	if k.State == statePendingDeletion {
		return nil, errPendingDeletion
	}
	k.Protected, k.ProtectionComment = protect, ""
	if protect {
		k.ProtectionComment = p["DeletionProtectionDescription"]
	}
	return reply{}, v.putKey(k)
}
