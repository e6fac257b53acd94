package emulator

import (
	"errors"
	"strings"
	"unicode"
	"unicode/utf8"
)

// maxAlias is the longest alias behind its prefix, in characters.
const maxAlias = 255

// aliasName returns the AliasName parameter: alias/ and 1 to 255 characters.
// Which characters the service takes is not certain; blanks and what cannot be
// printed are refused here.
func aliasName(p params) (string, error) {
	name, err := p.need("AliasName")
	if err != nil {
		return "", err
	}
	rest, ok := strings.CutPrefix(name, "alias/")
	n := utf8.RuneCountInString(rest)
	odd := func(r rune) bool { return unicode.IsSpace(r) || !unicode.IsPrint(r) }
	if !ok || n < 1 || n > maxAlias || strings.ContainsFunc(rest, odd) {
		return "", errInvalid("AliasName")
	}
	return name, nil
}

func (a *account) createAlias(v view, p params) (reply, error) {
	name, err := aliasName(p)
	if err != nil {
		return nil, err
	}
	if strings.HasPrefix(name, "alias/acs") { // the cloud services' own
		return nil, errInvalid("AliasName")
	}
	k, err := a.resolve(v, p, false)
	if err != nil {
		return nil, err
	}
	if v.tx.Bucket(bucketAliases).Get([]byte(name)) != nil {
		return nil, errAliasExists
	}
	if k.State == statePendingDeletion {
		return nil, errStateModified
	}
	return reply{}, v.tx.Bucket(bucketAliases).Put([]byte(name), []byte(k.ID))
}

func (a *account) updateAlias(v view, p params) (reply, error) {
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
		return nil, errPendingDeletion
	}
	return reply{}, v.tx.Bucket(bucketAliases).Put([]byte(name), []byte(k.ID))
}

func (a *account) deleteAlias(v view, p params) (reply, error) {
	name, err := aliasName(p)
	if err != nil {
		return nil, err
	}
	if _, err := v.alias(name); err != nil {
		return nil, err
	}
	return reply{}, v.tx.Bucket(bucketAliases).Delete([]byte(name))
}

func (a *account) listAliases(v view, p params) (reply, error) {
	return a.aliasesOf(v, p, "")
}

func (a *account) listAliasesByKeyID(v view, p params) (reply, error) {
	k, err := a.resolve(v, p, false)
	if err != nil {
		return nil, err
	}
	return a.aliasesOf(v, p, k.ID)
}

// aliasesOf lists the aliases of a key, or of all, by name.
func (a *account) aliasesOf(v view, p params, id string) (reply, error) {
	paging, err := p.paging(0)
	if err != nil {
		return nil, err
	}
	all := []map[string]string{}
	err = v.tx.Bucket(bucketAliases).ForEach(func(name, _ []byte) error {
		k, err := v.alias(string(name))
		if errors.Is(err, errAliasNotFound) || err == nil && id != "" && k.ID != id {
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
	return paging.counts(reply{"Aliases": map[string]any{"Alias": page(all, paging)}}, len(all)), nil
}
