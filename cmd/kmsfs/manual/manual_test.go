package manual

import (
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"github.com/kmsfs/kmsfs/cmd/kmsfs/options"
)

func root() *cobra.Command {
	r := &cobra.Command{Use: "kmsfs", Long: "first\n\n  verbatim -x\n\nlast"}
	verb := &cobra.Command{Use: "verb FILE", Short: "Do it", Long: "does .it", Example: "  kmsfs verb a", Run: func(*cobra.Command, []string) {}}
	verb.Flags().BoolP("own", "o", false, "a flag of its own")
	verb.Flags().String("ttl", "", "one of the table")
	hidden := &cobra.Command{Use: "inner", Hidden: true, Run: func(*cobra.Command, []string) {}}
	r.AddCommand(verb, hidden)
	return r
}

// The page of the program has every command that the help lists and the flags that
// are that command's own; those of the table stand there once.
func TestProgramPage(t *testing.T) {
	var b strings.Builder
	WriteProgram(&b, root(), "v1")
	page := b.String()
	for _, want := range []string{
		`.TH KMSFS 1 "" "kmsfs v1"`, `\fBkmsfs verb FILE\fR`, ".SS verb FILE\ndoes .it\n", `\fB\-o\fR, \fB\-\-own\fR`,
		"first\n.PP\n.RS 2\n.nf\nverbatim \\-x\n.fi\n.RE\nlast\n", "Examples:\n.RS 2\n.nf\nkmsfs verb a\n.fi\n.RE\n",
	} {
		if !strings.Contains(page, want) {
			t.Errorf("no %q in\n%s", want, page)
		}
	}
	if strings.Contains(page, "inner") || strings.Contains(page, "one of the table") {
		t.Errorf("too much in\n%s", page)
	}
	everyOption(t, page)
}

func TestHelperPage(t *testing.T) {
	var b strings.Builder
	WriteHelper(&b, "v1")
	if !strings.HasPrefix(b.String(), `.TH MOUNT.KMSFS 8 "" "kmsfs v1"`) {
		t.Errorf("%.60s", b.String())
	}
	everyOption(t, b.String())
}

// everyOption requires the table in a page, each row once.
func everyOption(t *testing.T, page string) {
	t.Helper()
	for _, o := range options.Table {
		if n := strings.Count(page, ".TP\n\\fB"+escape(o.Key)+"\\fR"); n != 1 {
			t.Errorf("%s is there %d times", o.Key, n)
		}
	}
}

// No line of the help is taken for a request of roff.
func TestEscape(t *testing.T) {
	for text, want := range map[string]string{".TH x": `\&.TH x`, "'x": `\&'x`, `a\b`: `a\eb`, "--x": `\-\-x`, "x.": "x."} {
		if got := escape(text); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}
