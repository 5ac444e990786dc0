package ending

import "keel/filter/wire/walk"

// messages is for events of the Messages API.
// https://platform.claude.com/docs/en/build-with-claude/streaming
type messages struct {
	began bool
	block int64 // the content block that is open
	open  bool
}

func (m *messages) see(doc []byte) {
	var kind string
	var index int64
	_ = walk.Response(doc, func(at *walk.Cursor, key []byte) (err error) {
		switch string(key) {
		case "type":
			return text(at, &kind)
		case "index":
			index, _, err = at.Int()
		}
		return err
	})
	switch kind {
	case "message_start":
		m.began = true
	case "content_block_start":
		m.block, m.open = index, true
	case "content_block_stop":
		m.open = false
	}
}

func (m *messages) finish(e *Ending) (documents []document) {
	if !m.began {
		return nil
	}
	if m.open {
		documents = append(documents, document{"content_block_stop", render(struct {
			Type  string `json:"type"`
			Index int64  `json:"index"`
		}{"content_block_stop", m.block})})
	}
	type delta struct {
		StopReason   string  `json:"stop_reason"`
		StopSequence *string `json:"stop_sequence"`
	}
	type usage struct {
		OutputTokens int64 `json:"output_tokens"`
	}
	return append(documents, document{"message_delta", render(struct {
		Type  string `json:"type"`
		Delta delta  `json:"delta"`
		Usage usage  `json:"usage"`
		Keel  keel   `json:"keel"`
	}{"message_delta", delta{"max_tokens", nil}, usage{e.OutputTokens}, e.keel()})},
		document{"message_stop", []byte(`{"type":"message_stop"}`)})
}

func (m *messages) fail(e *Ending) []document {
	type object struct {
		Type    string `json:"type"`
		Message string `json:"message"`
	}
	return []document{{"error", e.errorBody(struct {
		Type  string `json:"type"`
		Error object `json:"error"`
		Keel  keel   `json:"keel"`
	}{"error", object{"rate_limit_error", e.Message}, e.keel()})}}
}
