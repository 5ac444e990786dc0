package openai

import (
	"bytes"

	"keel/filter/wire"
	"keel/filter/wire/walk"
)

// runReading reads runs of assistants, polled or streamed. The same usage is
// told again on every poll, and in a stream first for each step and then for
// the run: only the run's counts, and steps stand in for it until it comes.
type runReading struct {
	steps   counts
	settled bool // the run told its usage
}

// run is what one object of a stream says.
type run struct {
	object []byte
	usage  counts
	raw    []byte
	of     body // id, model, time and failure
	text   int64
	calls  hostedCalls
}

func (d *runReading) writes() bool { return true }

func (d *runReading) document(c *walk.Cursor, key []byte, b *body) error {
	if read, err := b.describes(c, key); read {
		return err
	}
	switch string(key) {
	case "usage":
		_, err := b.readUsage(c)
		return err
	case "last_error", "error":
		return b.readFailure(c)
	}
	return nil
}

func (d *runReading) event(data []byte, b *body) eventKind {
	r := run{usage: noCounts()}
	err := walk.Response(data, func(c *walk.Cursor, key []byte) error { return r.member(c, key) })
	if err != nil {
		return plainEvent
	}
	b.reading.OutputBytes += r.text
	if r.of.reading.Failure != "" {
		b.reading.Failure = r.of.reading.Failure
	}
	switch string(r.object) {
	case "thread.run":
		b.reading.ID, b.reading.Created = r.of.reading.ID, r.of.reading.Created
		if r.of.reading.Model != "" {
			b.reading.Model = r.of.reading.Model
		}
		if r.usage.told() {
			b.counts, b.reported, b.running, d.settled = r.usage, true, false, true
			b.raw = append(b.raw[:0], r.raw...)
		}
	case "thread.run.step":
		if !r.usage.told() {
			break
		}
		b.calls.plus(&r.calls) // a step tells its usage once, when it is done
		if d.settled {
			break
		}
		if !b.reported {
			d.steps = noCounts()
		}
		d.steps.plus(&r.usage)
		b.counts, b.reported, b.running = d.steps, true, true
		b.raw = append(b.raw[:0], r.raw...)
	}
	return plainEvent
}

func (r *run) member(c *walk.Cursor, key []byte) (err error) {
	if read, err := r.of.describes(c, key); read {
		return err
	}
	switch string(key) {
	case "object":
		r.object, err = c.Text()
		r.object = bytes.Clone(r.object)
	case "usage":
		if c.Kind() != '{' {
			return nil
		}
		r.usage, err = readCounts(c)
		r.raw = c.Raw()
	case "last_error", "error":
		return r.of.readFailure(c)
	case "delta":
		return c.Object(func(key []byte) error {
			switch string(key) {
			case "content":
				return c.Array(func() error { return r.delta(c) })
			case "step_details":
				return r.delta(c)
			}
			return nil
		})
	case "step_details":
		return c.Object(func(key []byte) error {
			if string(key) != "tool_calls" {
				return nil
			}
			return c.Array(func() error { return r.toolCall(c) })
		})
	}
	return err
}

// delta adds up what the model wrote of a message or of the call of a tool.
func (r *run) delta(c *walk.Cursor) error {
	return c.Object(func(key []byte) error {
		switch string(key) {
		case "text", "function", "code_interpreter":
			return r.delta(c)
		case "tool_calls":
			return c.Array(func() error { return r.delta(c) })
		case "value", "name", "arguments", "input":
			n, err := c.TextLen()
			r.text += n
			return err
		}
		return nil
	})
}

// toolCall counts the call of a hosted tool. All code of a thread runs in one session.
func (r *run) toolCall(c *walk.Cursor) error {
	kind := ""
	err := c.Object(func(key []byte) error {
		if string(key) == "type" {
			return readName(c, &kind)
		}
		return nil
	})
	switch kind {
	case "code_interpreter":
		r.calls.join("")
	case "file_search":
		r.calls.fileSearches++
	}
	return err
}

func (d *runReading) settle(b *body, out *wire.Reading) {
	if out.Usage != nil {
		b.settleCalls(out)
	}
}
