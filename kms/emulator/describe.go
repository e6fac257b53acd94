package emulator

// describeRegions names the one region that exists here.
func (a *account) describeRegions(view, params) (reply, error) {
	return reply{"Regions": map[string]any{"Region": []map[string]string{{"RegionId": a.region}}}}, nil
}

func (a *account) describeAccountKmsStatus(view, params) (reply, error) {
	return reply{"AccountStatus": "Enabled"}, nil
}
