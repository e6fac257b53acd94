package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"text/tabwriter"

	"github.com/spf13/cobra"
)

// asker is what a verb that prints an answer of the service needs.
type asker interface {
	CreateKey(ctx context.Context, description string) (json.RawMessage, error)
	CreateAlias(ctx context.Context, alias, keyID string) (json.RawMessage, error)
}

func addOutput(cmd *cobra.Command, output *string) {
	cmd.Flags().StringVar(output, "output", "json", "json, as the aliyun command prints it, or table")
}

// ask makes one call and prints its answer.
func (p *program) ask(cmd *cobra.Command, s *settings, output string, call func(asker) (json.RawMessage, error)) error {
	if output != "json" && output != "table" {
		return usagef("read option --output: %s is neither json nor table", quote(output))
	}
	client, err := p.verbClient(s)
	if err != nil {
		return err
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(cmd.Context(), s.timeout)
	defer cancel()
	cmd.SetContext(ctx)
	raw, err := call(client)
	if err != nil {
		return err
	}
	return printAnswer(p.stdout, raw, output)
}

// printAnswer shows the service's JSON: keys sorted and tabs, as the aliyun
// command does, or a table of its fields.
func printAnswer(w io.Writer, raw json.RawMessage, output string) error {
	var answer map[string]any
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	if err := d.Decode(&answer); err != nil {
		return failf("print answer: not a JSON object")
	}
	if output == "json" {
		b, err := json.MarshalIndent(answer, "", "\t")
		if err != nil {
			return failf("print answer: %w", err)
		}
		_, err = fmt.Fprintf(w, "%s\n", b)
		return err
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	printFields(t, "", answer)
	return t.Flush()
}

// printFields prints the leaves of an answer, one a line; a field within a
// field is named by both.
func printFields(w io.Writer, prefix string, fields map[string]any) {
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		switch v := fields[name].(type) {
		case map[string]any:
			printFields(w, prefix+name+".", v)
		case string:
			fmt.Fprintf(w, "%s\t%s\n", prefix+name, oneLine(v))
		default:
			fmt.Fprintf(w, "%s\t%v\n", prefix+name, v)
		}
	}
}
