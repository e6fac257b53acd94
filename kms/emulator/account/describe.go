package account

import "github.com/kmsfs/kmsfs/kms/emulator/wire"

// describeRegions names the one region that exists here.
func (a *Account) describeRegions(view, wire.Params) (wire.Reply, error) {
	return wire.Reply{"Regions": map[string]any{"Region": []map[string]string{{"RegionId": a.region}}}}, nil
}

func (a *Account) describeAccountKmsStatus(view, wire.Params) (wire.Reply, error) {
	return wire.Reply{"AccountStatus": "Enabled"}, nil
}
