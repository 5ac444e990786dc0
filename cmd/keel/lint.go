package main

import (
	"fmt"
	"io"
	"os"

	"keel/envoy/lint"
)

type envoyLintCmd struct {
	Files    []string `arg:"" help:"Bootstrap, config dump, xDS file, or manifests and MeshConfig of Istio or Envoy Gateway, as YAML or JSON; \"-\" reads standard input." placeholder:"FILE"`
	Complete bool     `help:"The files are all that the mesh has: what they don't say is a finding, and no longer unseen."`
	Output   string   `short:"o" help:"text or json." enum:"text,json" default:"text"`
}

func (c *envoyLintCmd) Help() string {
	return `All files are judged together: give everything that attaches Keel at once. What
can't be seen in them is told as unseen, and is no finding.

Exit status 0 when nothing is unsafe, 1 when something is, 2 when a file can't be read.

Examples:
  keel envoy lint envoy.yaml
  keel envoy lint --complete keel.yaml meshconfig.yaml
  curl -sS 'http://127.0.0.1:9901/config_dump?include_eds' | keel envoy lint -o json -`
}

func (c *envoyLintCmd) Run(m *Main) error {
	var sources []lint.Source
	for _, name := range c.Files {
		text, err := readAllOf(name, m.Stdin)
		if err != nil {
			return notChecked(err)
		}
		if name == "-" {
			name = "stdin"
		}
		sources = append(sources, lint.Source{Name: name, Text: text})
	}
	report, err := lint.Lint(sources, lint.Options{Complete: c.Complete})
	if err != nil {
		return notChecked(err)
	}
	write := report.WriteText
	if c.Output == "json" {
		write = report.WriteJSON
	}
	if err := write(m.Stdout); err != nil {
		return err
	}
	fmt.Fprintf(m.Stderr, "keel: %d findings, %d unseen\n", len(report.Findings), len(report.Unseen))
	if len(report.Findings) > 0 {
		return errReported
	}
	return nil
}

func readAllOf(name string, stdin io.Reader) ([]byte, error) {
	if name == "-" {
		text, err := io.ReadAll(stdin)
		if err != nil {
			return nil, fmt.Errorf("standard input: %w", err)
		}
		return text, nil
	}
	return os.ReadFile(name)
}
