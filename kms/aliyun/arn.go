package aliyun

import (
	"errors"
	"fmt"
	"strings"
)

// ParseKeys tells the ids of keys from the aliases in a list of ids, ARNs and
// aliases. What an ARN says of a region and an account is dropped: the service
// answers with the id alone.
func ParseKeys(keys []string) (ids, aliases []string, err error) {
	for _, k := range keys {
		name := k
		if strings.HasPrefix(k, "acs:kms:") {
			// acs:kms:REGION:ACCOUNT:key/ID or …:alias/NAME
			parts := strings.SplitN(k, ":", 5)
			if len(parts) != 5 {
				return nil, nil, fmt.Errorf("%q is not an ARN of a key", k)
			}
			name = parts[4]
			if id, ok := strings.CutPrefix(name, "key/"); ok {
				name = id
			} else if !strings.HasPrefix(name, "alias/") {
				return nil, nil, fmt.Errorf("%q is not an ARN of a key", k)
			}
		}
		alias := strings.HasPrefix(name, "alias/")
		switch {
		case name == "" || name == "alias/" || strings.ContainsAny(name, " \t\r\n") || strings.Contains(name, "/") && !alias:
			return nil, nil, fmt.Errorf("%q is not a key id, an ARN or an alias", k)
		case alias:
			aliases = append(aliases, name)
		default:
			ids = append(ids, name)
		}
	}
	if len(ids)+len(aliases) == 0 {
		return nil, nil, errors.New("no keys")
	}
	return ids, aliases, nil
}
