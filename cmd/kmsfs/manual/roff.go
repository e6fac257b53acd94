package manual

import (
	"fmt"
	"io"
	"strings"
)

// roff writes in the language of man(7).
type roff struct {
	w       io.Writer
	version string
}

func (r roff) line(format string, a ...any) { fmt.Fprintf(r.w, format+"\n", a...) }

func (r roff) title(name, section, summary string) {
	r.line(`.TH %s %s "" "kmsfs %s"`, strings.ToUpper(name), section, r.version)
	r.line(".SH NAME\n%s \\- %s", name, escape(summary))
}

// text sets paragraphs as they stand in the help: a blank line ends one, and
// indented lines are kept.
func (r roff) text(s string) {
	verbatim := false
	for line := range strings.SplitSeq(strings.Trim(s, "\n"), "\n") {
		if indented := strings.HasPrefix(line, "  "); indented != verbatim && line != "" {
			verbatim = indented
			if verbatim {
				r.line(".RS 2\n.nf")
			} else {
				r.line(".fi\n.RE")
			}
		}
		switch {
		case line != "":
			r.line("%s", escape(strings.TrimPrefix(line, "  ")))
		case !verbatim:
			r.line(".PP")
		}
	}
	if verbatim {
		r.line(".fi\n.RE")
	}
}

// escape makes a line that roff prints as it is.
func escape(s string) string {
	s = strings.NewReplacer(`\`, `\e`, "-", `\-`).Replace(s)
	if strings.HasPrefix(s, ".") || strings.HasPrefix(s, "'") {
		s = `\&` + s
	}
	return s
}
