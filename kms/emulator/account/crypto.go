package account

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/kmsfs/kmsfs/kms"
	"github.com/kmsfs/kmsfs/kms/emulator/wire"
)

const (
	maxContext     = 8192 // characters of EncryptionContext as sent
	maxDataKey     = 1024 // bytes
	defaultDataKey = 32
)

// encrypt seals Plaintext, an opaque string: it is not base64-decoded, though
// the service's pages say that it must be base64. An empty string that is
// sent is a plaintext; one that is not sent is a missing parameter.
func (a *Account) encrypt(v view, p wire.Params) (wire.Reply, error) {
	plaintext, sent := p["Plaintext"]
	if !sent {
		return nil, wire.Missing("Plaintext")
	}
	if len(plaintext) > kms.MaxPlaintext {
		return nil, wire.Invalid("Plaintext")
	}
	return a.seal(v, p, plaintext)
}

// generateDataKey makes a random key and seals its base64 text, so that
// Decrypt returns that text again.
func (a *Account) generateDataKey(v view, p wire.Params) (wire.Reply, error) {
	size := defaultDataKey
	spec, err := p.OneOf("KeySpec", "AES_256", "AES_256", "AES_128")
	if err != nil {
		return nil, err
	}
	if spec == "AES_128" {
		size = 16
	}
	size, err = p.Number("NumberOfBytes", size, 1, maxDataKey) // it wins over KeySpec
	if err != nil {
		return nil, err
	}
	raw := make([]byte, size)
	rand.Read(raw) // never fails
	plaintext := base64.StdEncoding.EncodeToString(raw)
	out, err := a.seal(v, p, plaintext)
	if err != nil {
		return nil, err
	}
	out["Plaintext"] = plaintext
	return out, nil
}

func (a *Account) generateDataKeyWithoutPlaintext(v view, p wire.Params) (wire.Reply, error) {
	out, err := a.generateDataKey(v, p)
	delete(out, "Plaintext")
	return out, err
}

// seal encrypts for the key that KeyId names.
func (a *Account) seal(v view, p wire.Params, plaintext string) (wire.Reply, error) {
	id, err := p.Need("KeyId")
	if err != nil {
		return nil, err
	}
	return a.sealFor(v, id, p["EncryptionContext"], "EncryptionContext", plaintext)
}

// sealFor encrypts under the primary version of a key. contextName is the
// parameter that context came in.
func (a *Account) sealFor(v view, id, context, contextName, plaintext string) (wire.Reply, error) {
	aad, err := contextAAD(context, contextName)
	if err != nil {
		return nil, err
	}
	k, err := a.find(v, id, true)
	if err != nil {
		return nil, err
	}
	if err := a.mayUse(v, k); err != nil {
		return nil, err
	}
	kv, _, err := v.version(k.PrimaryVersion)
	if err != nil {
		return nil, err
	}
	blob, err := a.sealer(k.PrimaryVersion, kv.Material, plaintext, aad)
	if err != nil {
		return nil, err
	}
	return wire.Reply{"KeyId": k.ID, "KeyVersionId": k.PrimaryVersion, "CiphertextBlob": blob}, nil
}

func (a *Account) decrypt(v view, p wire.Params) (wire.Reply, error) {
	return a.open(v, p, "EncryptionContext")
}

// open decrypts CiphertextBlob with any version of its key.
func (a *Account) open(v view, p wire.Params, contextName string) (wire.Reply, error) {
	text, err := p.Need("CiphertextBlob")
	if err != nil {
		return nil, err
	}
	raw, err := decodeBlob(text)
	if err != nil {
		return nil, err
	}
	aad, err := contextAAD(p[contextName], contextName)
	if err != nil {
		return nil, err
	}
	n, err := v.head(raw)
	if err != nil {
		return nil, err
	}
	if err := a.mayUse(v, n.key); err != nil {
		return nil, err
	}
	plaintext, err := openBlob(raw[len(n.id):], n.version.Material, aad)
	if err != nil {
		return nil, err
	}
	return wire.Reply{"KeyId": n.key.ID, "KeyVersionId": n.id, "Plaintext": plaintext}, nil
}

// reEncrypt decrypts and encrypts for another key, or under the newest version
// of the same. Both keys must be usable. The parameters of asymmetric sources
// (SourceKeyId and others) are ignored: a blob here tells its own version.
func (a *Account) reEncrypt(v view, p wire.Params) (wire.Reply, error) {
	id, err := p.Need("DestinationKeyId")
	if err != nil {
		return nil, err
	}
	opened, err := a.open(v, p, "SourceEncryptionContext")
	if err != nil {
		return nil, err
	}
	const name = "DestinationEncryptionContext"
	return a.sealFor(v, id, p[name], name, opened["Plaintext"].(string))
}

// mayUse says whether a request may encrypt or decrypt with a key.
func (a *Account) mayUse(v view, k *key) error {
	if err := a.reachable(v, k); err != nil {
		return err
	}
	return k.usable()
}

// contextNames are the parameters that hold an encryption context.
var contextNames = []string{"EncryptionContext", "SourceEncryptionContext", "DestinationEncryptionContext"}

// noFlatContext refuses a context that is spread over parameters, one for each
// of its pairs (EncryptionContext.a=b), as one npm client sends an object
// (seen). What the service does with them is not documented; chosen: a refusal,
// since to ignore them would be to seal without the context that the caller
// believes in.
func noFlatContext(p wire.Params) error {
	for _, name := range slices.Sorted(maps.Keys(p)) {
		if of, _, flat := strings.Cut(name, "."); flat && slices.Contains(contextNames, of) {
			return wire.Invalid(name)
		}
	}
	return nil
}

// contextAAD returns what GCM authenticates for an encryption context: SHA-256
// over k1=v1&k2=v2… sorted by key, or nothing for none. Nothing is escaped in
// that form (nor is it in Alibaba's own re-implementation of it), so a context
// may be split differently into pairs and still fit; clients must not choose
// keys or values with = or & from untrusted input. {} is no context (chosen).
func contextAAD(text, name string) ([]byte, error) {
	if text == "" {
		return nil, nil
	}
	invalid := wire.Invalid(name)
	if utf8.RuneCountInString(text) > maxContext {
		return nil, invalid
	}
	// Decoding into pointers tells null, which is no string, from "".
	var pairs map[string]*string
	if err := json.Unmarshal([]byte(text), &pairs); err != nil || pairs == nil {
		return nil, invalid
	}
	if len(pairs) == 0 {
		return nil, nil
	}
	var joined []string
	for _, k := range slices.Sorted(maps.Keys(pairs)) {
		if pairs[k] == nil {
			return nil, invalid
		}
		joined = append(joined, k+"="+*pairs[k])
	}
	sum := sha256.Sum256([]byte(strings.Join(joined, "&")))
	return sum[:], nil
}
