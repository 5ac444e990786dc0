package main

import (
	"encoding/json"
	"io"
)

// writeJSON writes what a command prints with -o json, for people and programs.
func writeJSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(v)
}
