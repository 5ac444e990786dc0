package program

import (
	"bytes"
	"io"
	"os"
	"strings"
)

// Tail is the last lines of a file that lie behind offset from, without empty
// ones, or "" if there are none.
func Tail(file string, from int64, lines int) string {
	const most = 8 << 10
	f, err := os.Open(file)
	if err != nil {
		return ""
	}
	defer f.Close()
	if info, err := f.Stat(); err == nil && info.Size()-from > most {
		from = info.Size() - most
	}
	text, err := io.ReadAll(io.NewSectionReader(f, from, most))
	if err != nil {
		return ""
	}
	var kept []string
	for line := range bytes.Lines(text) {
		if line = bytes.TrimSpace(line); len(line) > 0 {
			kept = append(kept, string(line))
		}
	}
	return strings.Join(kept[max(0, len(kept)-lines):], "\n")
}
