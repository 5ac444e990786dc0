package openai

import (
	"slices"

	"keel/filter/wire"
	"keel/filter/wire/walk"
	"keel/pricing/meter"
)

// hostedCalls are the calls of hosted tools that output shows and that are billed one by one.
type hostedCalls struct {
	searches, fileSearches, images int64
	containers                     []string   // of the code interpreter
	executed                       []executed // by a compound system (Groq)
}

type executed struct {
	index  int64
	search bool
}

// count counts an item.
//
// Of web_search_call only the action search is billed: "search actions incur
// a tool call cost", as OpenAI's guide of the tool says, opening and reading a page that was found do
// not. An item without an action is of a version that had no other.
// A code interpreter is billed a session, which is a container, however many calls run in it (its price
// list).
func (h *hostedCalls) count(kind, action, container string) {
	switch kind {
	case "web_search_call":
		if action == "" || action == "search" {
			h.searches++
		}
	case "file_search_call":
		h.fileSearches++
	case "code_interpreter_call":
		h.join(container)
	case "image_generation_call":
		h.images++
	}
}

func (h *hostedCalls) join(container string) {
	if !slices.Contains(h.containers, container) {
		h.containers = append(h.containers, container)
	}
}

// plus adds other, which tells of other items.
func (h *hostedCalls) plus(other *hostedCalls) {
	h.searches += other.searches
	h.fileSearches += other.fileSearches
	h.images += other.images
	for _, container := range other.containers {
		h.join(container)
	}
}

// atLeast takes over other, which tells of the same items, where it counts more.
func (h *hostedCalls) atLeast(other *hostedCalls) {
	h.searches = max(h.searches, other.searches)
	h.fileSearches = max(h.fileSearches, other.fileSearches)
	h.images = max(h.images, other.images)
	for _, container := range other.containers {
		h.join(container)
	}
}

// readExecuted reads what tools a compound system (Groq) ran. A stream tells
// each when it begins and again when it is done.
func (h *hostedCalls) readExecuted(c *walk.Cursor) error {
	return c.Array(func() error {
		tool := executed{index: int64(len(h.executed))}
		err := c.Object(func(key []byte) error {
			switch string(key) {
			case "index":
				return count(c, &tool.index)
			case "type":
				kind, err := c.Text()
				tool.search = string(kind) == "search"
				return err
			}
			return nil
		})
		if !slices.ContainsFunc(h.executed, func(e executed) bool { return e.index == tool.index }) {
			h.executed = append(h.executed, tool)
		}
		return err
	})
}

// executedUsage is what readExecuted found, as quantities.
func (h *hostedCalls) executedUsage() (usage meter.Usage) {
	for _, e := range h.executed {
		if e.search {
			usage[meter.WebSearch]++
		} else {
			usage[meter.HostedTools]++
		}
	}
	return usage
}

// readImageModel finds in the tools that a response repeats which model makes its images.
func (b *body) readImageModel(c *walk.Cursor) error {
	if c.Kind() != '[' {
		return nil
	}
	return c.Array(func() error {
		var kind, model string
		err := c.Object(func(key []byte) error {
			switch string(key) {
			case "type":
				return readName(c, &kind)
			case "model":
				return readName(c, &model)
			}
			return nil
		})
		if kind == "image_generation" && model != "" {
			b.imageModel = model
		}
		return err
	})
}

// readToolUsage reads tool_usage, which stands beside usage in the responses of newer models.
func (b *body) readToolUsage(c *walk.Cursor) error {
	return c.Object(func(key []byte) error {
		switch string(key) {
		case "web_search":
			return c.Object(func(key []byte) error {
				if string(key) == "num_requests" {
					return count(c, &b.searchRequests)
				}
				return nil
			})
		case "image_gen":
			if c.Kind() != '{' {
				return nil
			}
			u, err := readCounts(c)
			b.imageCounts, b.imageTold = &u, u.total > 0 || u.prompt > 0 || u.completion > 0
			return err
		}
		return nil
	})
}

// defaultImageModel makes the images of the hosted tool unless it is told
// another (OpenAI's reference of the tool).
const defaultImageModel = "gpt-image-1"

// settleCalls adds hosted calls to the usage, where the usage object does not
// count them itself. Of two counts of the same the larger is taken. The tokens
// of images are another model's; where they are not told, the images are counted.
func (b *body) settleCalls(out *wire.Reading) {
	u := out.Usage
	if b.counts.searches < 0 {
		u[meter.WebSearch] = max(b.calls.searches, b.searchRequests)
	}
	if b.counts.fileSearches < 0 {
		u[meter.FileSearch] = b.calls.fileSearches
	}
	if b.counts.codeCalls < 0 {
		u[meter.CodeInterpreter] = int64(len(b.calls.containers))
	}
	switch {
	case b.imageTold:
		model := defaultImageModel
		if b.imageModel != "" {
			model = b.imageModel
		}
		counts := *b.imageCounts
		counts.drawn()
		usage, _ := counts.normalise()
		out.Parts = []meter.Part{{Usage: *u}, {Model: model, Usage: usage}}
	default:
		u[meter.Images] = b.calls.images
	}
}

// drawn makes image tokens of all output that is not said to be text: the
// usage of image models does not always split it.
func (u *counts) drawn() {
	if u.completionImage < 0 && u.completion >= 0 {
		u.completionImage = u.completion - max(u.completionText, 0)
	}
}
