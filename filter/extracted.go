package filter

import (
	"bytes"
	"encoding/json"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"

	"keel/filter/frame"
	"keel/filter/wire"
)

// A filter of Envoy's (envoy/usage.lua) leaves what it finds in an answer in a namespace of the call's metadata: one text, an object
// of JSON, in which each value stands under its path in the body, or in the events of a stream, of which a later one went over an earlier one. From that
// a body is made again that has nothing else in it, and the format's own reader reads it: so usage means the same in all modes.
//
// json_to_metadata and sse_to_metadata may write there instead, a value a key: "usage.prompt_tokens". A key that ends in {} has a whole object, as JSON in
// a string, which is what sse_to_metadata makes of one; json_to_metadata takes only numbers and strings.
const (
	usageSpace  = "keel.usage"
	usageAnswer = "answer" // of a body in one piece, whose paths are names of its members
	usageEvents = "events"
)

// toolUsage is the member of an answer that counts calls of hosted tools.
const toolUsage = "tool_usage"

// extracted reads what Envoy found in an answer.
type extracted struct {
	wire.ResponseReader
	terminal bool  // the body told its end
	written  int64 // see Call.written
	tools    bool  // it counts its calls of hosted tools
}

// Reading implements wire.ResponseReader. The body made again is always whole, so it says nothing about that.
func (x *extracted) Reading() wire.Reading {
	r := x.ResponseReader.Reading()
	r.Terminal, r.OutputBytes = x.terminal, x.written
	return r
}

func (x *extracted) read(found frame.Fields) {
	if len(found) == 0 {
		return
	}
	if f := &found[0]; len(found) == 1 && string(f.Key) == usageAnswer && f.Kind == frame.String && len(f.Text) > 0 && !bytes.Contains(f.Text, []byte(toolUsage)) {
		x.Feed(bytes.Clone(f.Text), true) // which is such a body
		return
	}
	root := make(map[string]any)
	found = slices.Clone(found)
	slices.SortStableFunc(found, func(a, b frame.Field) int { return bytes.Compare(a.Key, b.Key) })
	for i := range found {
		f := &found[i]
		if i+1 < len(found) && bytes.Equal(f.Key, found[i+1].Key) {
			continue // of two the last counts
		}
		if path, object := strings.CutSuffix(string(f.Key), "{}"); object {
			if value, ok := decoded(f.Text); ok {
				place(root, strings.Split(path, "."), value)
			}
		} else if key := string(f.Key); key == usageAnswer || key == usageEvents {
			said, _ := decoded(f.Text)
			for _, path := range slices.Sorted(maps.Keys(said)) {
				place(root, strings.Split(path, "."), said[path])
			}
		} else if value, ok := scalar(f); ok {
			place(root, strings.Split(key, "."), value)
		}
	}
	delta, _ := root["delta"].(map[string]any)
	response, _ := root["response"].(map[string]any)
	switch response["status"] {
	case "completed", "incomplete", "failed", "cancelled":
		x.terminal = true
	}
	x.terminal = x.terminal || delta["stop_reason"] != nil
	delete(root, "delta")
	lift(root, "message") // Anthropic's message_start
	lift(root, "response")
	_, x.tools = root[toolUsage]
	body, err := json.Marshal(root)
	if err != nil { // plain values always encode
		panic(err)
	}
	x.Feed(body, true)
}

// lift puts what stands in the object of an event where an answer in one piece has it. A later usage goes over
// the one there, member by member: that is how Anthropic's stream tells it.
func lift(root map[string]any, name string) {
	object, _ := root[name].(map[string]any)
	delete(root, name)
	for key, value := range object {
		before, isObject := value.(map[string]any)
		after, both := root[key].(map[string]any)
		switch {
		case isObject && both:
			for k, v := range before {
				if after[k] == nil {
					after[k] = v
				}
			}
		case root[key] == nil:
			root[key] = value
		}
	}
}

func place(at map[string]any, path []string, value any) {
	for ; len(path) > 1; path = path[1:] {
		inner, ok := at[path[0]].(map[string]any)
		if !ok {
			inner = make(map[string]any)
			at[path[0]] = inner
		}
		at = inner
	}
	if object, ok := value.(map[string]any); ok {
		if there, both := at[path[0]].(map[string]any); both {
			for k, v := range object {
				there[k] = v
			}
			return
		}
	}
	at[path[0]] = value
}

// scalar is a value of the metadata as JSON has it. Its numbers are floats, which are exact for every count.
func scalar(f *frame.Field) (any, bool) {
	switch f.Kind {
	case frame.Number:
		if math.IsNaN(f.Number) || math.IsInf(f.Number, 0) {
			return nil, false
		}
		return json.Number(strconv.FormatFloat(f.Number, 'f', -1, 64)), true
	case frame.String:
		return string(f.Text), true
	case frame.Bool:
		return f.Number != 0, true
	}
	return nil, false
}

func decoded(text []byte) (map[string]any, bool) {
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	var object map[string]any
	if err := d.Decode(&object); err != nil {
		return nil, false
	}
	return object, true
}
