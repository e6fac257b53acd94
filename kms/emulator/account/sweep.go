package account

import (
	"bytes"
	"encoding/json"
)

// sweep removes what belongs to keys whose deletion date has passed.
func (v view) sweep() error {
	gone := map[string]bool{}
	err := v.tx.Bucket(bucketKeys).ForEach(func(id, raw []byte) error {
		var k key
		if err := json.Unmarshal(raw, &k); err != nil {
			return err
		}
		gone[string(id)] = k.gone(v.now)
		return nil
	})
	if err != nil {
		return err
	}
	owners := map[string]func(id, raw []byte) (string, error){
		string(bucketKeys):    func(id, _ []byte) (string, error) { return string(id), nil },
		string(bucketAliases): func(_, raw []byte) (string, error) { return string(raw), nil },
		string(bucketVersions): func(_, raw []byte) (string, error) {
			var kv version
			err := json.Unmarshal(raw, &kv)
			return kv.KeyID, err
		},
	}
	for bucket, owner := range owners {
		c := v.tx.Bucket([]byte(bucket)).Cursor()
		var dead [][]byte // deleting under a moving cursor may skip entries
		for id, raw := c.First(); id != nil; id, raw = c.Next() {
			o, err := owner(id, raw)
			if err != nil {
				return err
			}
			if gone[o] {
				dead = append(dead, bytes.Clone(id))
			}
		}
		for _, id := range dead {
			if err := v.tx.Bucket([]byte(bucket)).Delete(id); err != nil {
				return err
			}
		}
	}
	return nil
}
