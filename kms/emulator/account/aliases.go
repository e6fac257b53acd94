package account

import (
	"errors"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/kmsfs/kmsfs/kms/emulator/wire"
)

// maxAlias is the longest alias behind its prefix, in characters.
const maxAlias = 255

// aliasName returns the AliasName parameter: alias/ and 1 to 255 characters.
// Which characters the service takes is not certain; blanks and what cannot be
// printed are refused here.
func aliasName(p wire.Params) (string, error) {
	name, err := p.Need("AliasName")
	if err != nil {
		return "", err
	}
	rest, ok := strings.CutPrefix(name, "alias/")
	n := utf8.RuneCountInString(rest)
	odd := func(r rune) bool { return unicode.IsSpace(r) || !unicode.IsPrint(r) }
	if !ok || n < 1 || n > maxAlias || strings.ContainsFunc(rest, odd) {
		return "", wire.Invalid("AliasName")
	}
	return name, nil
}

func (a *Account) createAlias(v view, p wire.Params) (wire.Reply, error) {
	name, err := aliasName(p)
	if err != nil {
		return nil, err
	}
	if strings.HasPrefix(name, "alias/acs") { // the cloud services' own
		return nil, wire.Invalid("AliasName")
	}
	k, err := a.resolve(v, p, false)
	if err != nil {
		return nil, err
	}
	if v.tx.Bucket(bucketAliases).Get([]byte(name)) != nil {
		return nil, wire.ErrAliasExists
	}
	if k.State == statePendingDeletion {
		return nil, wire.ErrStateModified
	}
	return wire.Reply{}, v.tx.Bucket(bucketAliases).Put([]byte(name), []byte(k.ID))
}

func (a *Account) updateAlias(v view, p wire.Params) (wire.Reply, error) {
	name, err := aliasName(p)
	if err != nil {
		return nil, err
	}
	k, err := a.resolve(v, p, false)
	if err != nil {
		return nil, err
	}
	if _, err := v.alias(name); err != nil {
		return nil, err
	}
	if k.State == statePendingDeletion {
		return nil, wire.ErrPendingDeletion
	}
	return wire.Reply{}, v.tx.Bucket(bucketAliases).Put([]byte(name), []byte(k.ID))
}

func (a *Account) deleteAlias(v view, p wire.Params) (wire.Reply, error) {
	name, err := aliasName(p)
	if err != nil {
		return nil, err
	}
	if _, err := v.alias(name); err != nil {
		return nil, err
	}
	return wire.Reply{}, v.tx.Bucket(bucketAliases).Delete([]byte(name))
}

func (a *Account) listAliases(v view, p wire.Params) (wire.Reply, error) {
	return a.aliasesOf(v, p, "")
}

func (a *Account) listAliasesByKeyID(v view, p wire.Params) (wire.Reply, error) {
	k, err := a.resolve(v, p, false)
	if err != nil {
		return nil, err
	}
	return a.aliasesOf(v, p, k.ID)
}

// aliasesOf lists the aliases of a key, or of all, by name.
func (a *Account) aliasesOf(v view, p wire.Params, id string) (wire.Reply, error) {
	paging, err := p.Paging(0)
	if err != nil {
		return nil, err
	}
	all := []map[string]string{}
	err = v.tx.Bucket(bucketAliases).ForEach(func(name, _ []byte) error {
		k, err := v.alias(string(name))
		if errors.Is(err, wire.ErrAliasNotFound) || err == nil && id != "" && k.ID != id {
			return nil
		}
		if err == nil {
			all = append(all, map[string]string{
				"AliasName": string(name), "KeyId": k.ID, "AliasArn": a.arn(string(name)),
			})
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return paging.Counts(wire.Reply{"Aliases": map[string]any{"Alias": wire.Page(all, paging)}}, len(all)), nil
}
