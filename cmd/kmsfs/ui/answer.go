package ui

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"text/tabwriter"
)

// PrintAnswer shows the service's JSON: keys sorted and tabs, as the aliyun
// command does, or as tables.
func PrintAnswer(w io.Writer, raw json.RawMessage, output string) error {
	var answer map[string]any
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	if err := d.Decode(&answer); err != nil {
		return Failf("print answer: not a JSON object")
	}
	if output == "json" {
		b, err := json.MarshalIndent(answer, "", "\t")
		if err != nil {
			return Failf("print answer: %w", err)
		}
		_, err = fmt.Fprintf(w, "%s\n", b)
		return err
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	printFields(t, "", answer)
	return t.Flush()
}

// printFields prints the leaves of an answer, one a line, a field within a
// field under both names; a list becomes a table of its own.
func printFields(w io.Writer, prefix string, fields map[string]any) {
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		switch v := fields[name].(type) {
		case map[string]any:
			printFields(w, prefix+name+".", v)
		case []any:
			printList(w, v)
		default:
			fmt.Fprintf(w, "%s\t%s\n", prefix+name, cell(v))
		}
	}
}

// printList prints objects under the names of their fields.
func printList(w io.Writer, list []any) {
	names := map[string]bool{}
	for _, item := range list {
		if object, ok := item.(map[string]any); ok {
			for name := range object {
				names[name] = true
			}
		}
	}
	columns := slices.Sorted(maps.Keys(names))
	line := func(value func(string) string) {
		for _, c := range columns {
			fmt.Fprintf(w, "%s\t", value(c))
		}
		fmt.Fprintln(w)
	}
	line(func(c string) string { return c })
	for _, item := range list {
		object, _ := item.(map[string]any)
		line(func(c string) string { return cell(object[c]) })
	}
}

func cell(v any) string {
	if v == nil {
		return ""
	}
	return OneLine(fmt.Sprint(v))
}
