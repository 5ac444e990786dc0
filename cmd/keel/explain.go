package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"regexp"

	"github.com/google/uuid"

	"keel/budget/audit/answers"
	"keel/budget/ledger"
)

type explainCmd struct {
	Decision string `arg:"" optional:"" name:"decision-id" help:"As in the response header x-keel-decision-id; \"-\" finds it in standard input, such as saved response headers."`
	Output   string `short:"o" help:"text or json." enum:"text,json" default:"text"`
	Schema   bool   `help:"Print the JSON schema of -o json, and nothing else."`
	databaseFlag
}

func (c *explainCmd) Help() string {
	return `Examples:
  keel explain 01988a3e-5f0c-7c31-9d5e-1b2a3c4d5e6f
  curl -sS -D headers http://127.0.0.1:10000/v1/chat/completions -d @body.json && keel explain - < headers`
}

func (c *explainCmd) Run(ctx context.Context, m *Main) error {
	if c.Schema {
		_, err := m.Stdout.Write(ledger.ExplainSchema)
		return err
	}
	id, err := c.decision(m.Stdin)
	if err != nil {
		return err
	}
	store, err := c.open(ctx, m)
	if err != nil {
		return err
	}
	defer store.Close()
	explanation, err := store.Explain(ctx, id)
	if err != nil {
		return err
	}
	if c.Output == "json" {
		return writeJSON(m.Stdout, explanation)
	}
	inWords, err := answers.Of(explanation)
	if err != nil {
		return err
	}
	return inWords.WriteText(m.Stdout)
}

// decisionLine is the header as curl saves it.
var decisionLine = regexp.MustCompile(`(?im)^x-keel-decision-id:\s*(\S+)`)

func (c *explainCmd) decision(stdin io.Reader) (uuid.UUID, error) {
	text := c.Decision
	if text == "-" {
		in, err := io.ReadAll(io.LimitReader(stdin, 1<<20))
		if err != nil {
			return uuid.Nil, fmt.Errorf("standard input: %w", err)
		}
		found := decisionLine.FindSubmatch(in)
		if found == nil {
			return uuid.Nil, errors.New("standard input has no line \"x-keel-decision-id: …\"")
		}
		text = string(found[1])
	}
	id, err := uuid.Parse(text)
	if err != nil {
		return uuid.Nil, fmt.Errorf("%q is not a decision id (a UUID, as in the response header x-keel-decision-id)", text)
	}
	return id, nil
}
