package sse

import "slices"

// An Extent is a range of offsets in a stream, half-open.
type Extent struct{ Start, End int64 }

// A Gate lets the bytes of a stream through but for what is dropped, and keeps
// back what is not decided yet. The zero Gate stands at offset 0.
type Gate struct {
	held []byte
	at   int64 // offset of held[0]
}

// Passed is how many bytes were let through, with those that were dropped.
func (g *Gate) Passed() int64 { return g.at }

// Pass takes the next chunk and returns the bytes up to the offset until that
// were not returned before, without those in dropped, which are in order and
// before until. Where that is all of chunk and nothing else, it is chunk itself.
func (g *Gate) Pass(chunk []byte, dropped []Extent, until int64) []byte {
	end := g.at + int64(len(g.held)+len(chunk))
	if len(g.held) == 0 && len(dropped) == 0 && until == end {
		g.at = end
		return chunk
	}
	g.held = append(g.held, chunk...)
	if until == g.at {
		return nil
	}
	out := make([]byte, 0, until-g.at)
	from := g.at
	for _, d := range dropped {
		out = append(out, g.held[from-g.at:d.Start-g.at]...)
		from = d.End
	}
	out = append(out, g.held[from-g.at:until-g.at]...)
	g.held = slices.Delete(g.held, 0, int(until-g.at))
	g.at = until
	return out
}
