package ending

import (
	"maps"
	"slices"

	"keel/filter/wire/walk"
)

// gemini is for chunks of streamGenerateContent, as events or as elements of an array.
// https://ai.google.dev/api/generate-content#v1beta.GenerateContentResponse
type gemini struct {
	finished map[int64]bool // by candidate index; false: seen, not finished
	model    string
	id       string
}

func (g *gemini) see(doc []byte) {
	_ = walk.Response(doc, func(at *walk.Cursor, key []byte) error {
		switch string(key) {
		case "modelVersion":
			return text(at, &g.model)
		case "responseId":
			return text(at, &g.id)
		case "candidates":
			return at.Array(func() error {
				index, reason, err := position(at, "finishReason")
				g.finished[index] = g.finished[index] || reason != ""
				return err
			})
		}
		return nil
	})
}

// finish tells why in finishMessage: Google's own library refuses members that it does not know.
func (g *gemini) finish(e *Ending) []document {
	if len(g.finished) == 0 {
		return nil
	}
	type part struct {
		Text string `json:"text"`
	}
	type content struct {
		Role  string `json:"role"`
		Parts []part `json:"parts"`
	}
	type candidate struct {
		Content       content `json:"content"`
		FinishReason  string  `json:"finishReason"`
		FinishMessage string  `json:"finishMessage"`
		Index         int64   `json:"index"`
	}
	var candidates []candidate
	for _, index := range slices.Sorted(maps.Keys(g.finished)) {
		if !g.finished[index] {
			candidates = append(candidates, candidate{content{"model", []part{{}}}, "MAX_TOKENS", e.Message, index})
		}
	}
	if candidates == nil {
		return []document{} // whole already
	}
	return []document{{data: render(struct {
		Candidates   []candidate `json:"candidates"`
		ModelVersion string      `json:"modelVersion,omitempty"`
		ResponseID   string      `json:"responseId,omitempty"`
	}{candidates, g.model, g.id})}}
}

func (g *gemini) fail(e *Ending) []document {
	type status struct {
		Code    int    `json:"code"`
		Message string `json:"message"`
		Status  string `json:"status"`
	}
	return []document{{data: e.errorBody(map[string]status{"error": {429, e.Message, "RESOURCE_EXHAUSTED"}})}}
}
