package wire

import (
	"math"
	"net/url"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Params holds the decoded parameters of a request by name.
type Params map[string]string

// add decodes form-encoded pairs into p. A parameter that arrives twice must
// say the same thing twice: which of two values the service would take is not
// documented, and a signature over one of them proves nothing.
func (p Params) add(encoded string) *Error {
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
				return Invalid(name)
			}
			p[name] = v
		}
	}
	return nil
}

// Need returns a parameter that must be there and not be empty.
func (p Params) Need(name string) (string, error) {
	if p[name] == "" {
		return "", Missing(name)
	}
	return p[name], nil
}

// Number returns an integer parameter within lo and hi, or def when it is
// absent or empty.
func (p Params) Number(name string, def, lo, hi int) (int, error) {
	if p[name] == "" {
		return def, nil
	}
	n, err := strconv.Atoi(p[name])
	if err != nil || n < lo || n > hi {
		return 0, Invalid(name)
	}
	return n, nil
}

// Boolean returns a parameter that is true or false in any case, or false
// when it is absent or empty.
func (p Params) Boolean(name string) (bool, error) {
	switch {
	case p[name] == "", strings.EqualFold(p[name], "false"):
		return false, nil
	case strings.EqualFold(p[name], "true"):
		return true, nil
	}
	return false, Invalid(name)
}

// OneOf returns a parameter that is among the documented values, or def when
// it is absent or empty.
func (p Params) OneOf(name, def string, documented ...string) (string, error) {
	if p[name] == "" {
		return def, nil
	}
	for _, d := range documented {
		if p[name] == d {
			return d, nil
		}
	}
	return "", Invalid(name)
}

// Paging is the page that a list operation was asked for.
type Paging struct{ number, size int }

// Paging reads PageNumber, from 1, and PageSize, from least to 100.
func (p Params) Paging(least int) (Paging, error) {
	number, err := p.Number("PageNumber", 1, 1, math.MaxInt32)
	if err != nil {
		return Paging{}, err
	}
	size, err := p.Number("PageSize", 10, least, 100)
	return Paging{number, size}, err
}

// Counts adds the numbers that every list answers.
func (g Paging) Counts(out Reply, total int) Reply {
	out["TotalCount"], out["PageNumber"], out["PageSize"] = total, g.number, g.size
	return out
}

// Page cuts one page out of all. A page behind the last is empty, and never
// nil.
func Page[T any](all []T, g Paging) []T {
	if g.size == 0 || g.number > len(all)/g.size+1 {
		return []T{}
	}
	from := min((g.number-1)*g.size, len(all))
	return append([]T{}, all[from:min(from+g.size, len(all))]...)
}
