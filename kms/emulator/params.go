package emulator

import (
	"math"
	"net/url"
	"strconv"
	"strings"
	"unicode/utf8"
)

// params holds the decoded parameters of a request by name.
type params map[string]string

// add decodes form-encoded pairs into p. A parameter that arrives twice must
// say the same thing twice: which of two values the service would take is not
// documented, and a signature over one of them proves nothing.
func (p params) add(encoded string) *apiError {
	values, err := url.ParseQuery(encoded)
	if err != nil {
		return errParse("The request parameters are not form-encoded.")
	}
	for name, vs := range values {
		for _, v := range vs {
			if !utf8.ValidString(name) || !utf8.ValidString(v) {
				return errParse("The request parameters are not UTF-8.")
			}
			if old, ok := p[name]; ok && old != v {
				return errInvalid(name)
			}
			p[name] = v
		}
	}
	return nil
}

// need returns a parameter that must be there and not be empty.
func (p params) need(name string) (string, error) {
	if p[name] == "" {
		return "", errMissing(name)
	}
	return p[name], nil
}

// number returns an integer parameter within lo and hi, or def when it is
// absent or empty.
func (p params) number(name string, def, lo, hi int) (int, error) {
	if p[name] == "" {
		return def, nil
	}
	n, err := strconv.Atoi(p[name])
	if err != nil || n < lo || n > hi {
		return 0, errInvalid(name)
	}
	return n, nil
}

// boolean returns a parameter that is true or false in any case, or false
// when it is absent or empty.
func (p params) boolean(name string) (bool, error) {
	switch {
	case p[name] == "", strings.EqualFold(p[name], "false"):
		return false, nil
	case strings.EqualFold(p[name], "true"):
		return true, nil
	}
	return false, errInvalid(name)
}

// oneOf returns a parameter that is among the documented values, or def when
// it is absent or empty.
func (p params) oneOf(name, def string, documented ...string) (string, error) {
	if p[name] == "" {
		return def, nil
	}
	for _, d := range documented {
		if p[name] == d {
			return d, nil
		}
	}
	return "", errInvalid(name)
}

// paging is the page that a list operation was asked for.
type paging struct{ number, size int }

// paging reads PageNumber, from 1, and PageSize, from least to 100.
func (p params) paging(least int) (paging, error) {
	number, err := p.number("PageNumber", 1, 1, math.MaxInt32)
	if err != nil {
		return paging{}, err
	}
	size, err := p.number("PageSize", 10, least, 100)
	return paging{number, size}, err
}

// counts adds the numbers that every list answers.
func (g paging) counts(out reply, total int) reply {
	out["TotalCount"], out["PageNumber"], out["PageSize"] = total, g.number, g.size
	return out
}

// page cuts one page out of all. A page behind the last is empty, and never
// nil.
func page[T any](all []T, g paging) []T {
	if g.size == 0 || g.number > len(all)/g.size+1 {
		return []T{}
	}
	from := min((g.number-1)*g.size, len(all))
	return append([]T{}, all[from:min(from+g.size, len(all))]...)
}
