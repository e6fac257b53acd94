package account

import (
	"crypto/rand"
	"fmt"
	"strings"
)

// The generations of KMS that are played here. They differ in the ids of
// new keys and in what a new key belongs to.
const (
	SharedGeneration   = 1 // the shared version: ids are UUIDs, keys belong to nothing
	InstanceGeneration = 3 // KMS 3.0: ids are key-…, keys belong to an instance
)

const (
	keyIDPrefix   = "key-"
	idRandom      = 18 // characters of a key id behind its place
	versionRandom = 10 // characters of a version id behind its key's
)

// versionLengths are those of all version ids, in characters, the longest
// first: of a key of pay as you go, and of any other key of either generation.
var versionLengths = [...]int{37, 36}

// places are the letters that stand for a region in an id (seen).
var places = map[string]string{"cn-hangzhou": "hzz", "cn-beijing": "bjj"}

// newKeyID returns the id of a new key. Two lengths were seen in the third
// generation; chosen: they take turns, so that whoever makes two keys has met
// both. With the number of a key in its state file, from 1:
//
//	odd   key-hzz62f1cb66fa42qo0exa   25 characters, 36 with a version's suffix
//	even  key-phzz661646aeygbqrfqg5j  26 (pay as you go), 37 with the suffix
func (a *Account) newKeyID(sequence uint64) string {
	if a.generation != InstanceGeneration {
		return NewUUID()
	}
	place, known := places[a.region]
	if !known {
		place = "emu" // chosen
	}
	if sequence%2 == 0 {
		place = "p" + place
	}
	return keyIDPrefix + place + randomID(idRandom)
}

// newVersionID returns the id of a new version of the key: it follows the key's
// own generation, whichever is played now.
func (k *key) newVersionID() string {
	if strings.HasPrefix(k.ID, keyIDPrefix) {
		return k.ID + "-" + randomID(versionRandom)
	}
	return NewUUID()
}

// randomID returns up to 26 random lower-case letters and digits.
func randomID(n int) string { return strings.ToLower(rand.Text()[:n]) }

// NewUUID returns a random UUID in lower case.
func NewUUID() string {
	var b [16]byte
	rand.Read(b[:]) // never fails
	b[6] = b[6]&0x0f | 0x40
	b[8] = b[8]&0x3f | 0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}
