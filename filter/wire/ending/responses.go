package ending

import (
	"encoding/json"

	"keel/filter/wire/walk"
)

// maxResponse is how much of the response object is kept to be told again: it repeats
// the instructions. Without a longer one the essential members are told.
const maxResponse = 1 << 20

// responses is for events of the Responses API.
// https://platform.openai.com/docs/api-reference/responses-streaming
type responses struct {
	sequence int64 // number of the last event
	began    bool
	response []byte // as response.created or response.in_progress told it
	id       string
}

func (r *responses) see(doc []byte) {
	_ = walk.Response(doc, func(at *walk.Cursor, key []byte) error {
		switch string(key) {
		case "sequence_number":
			n, ok, err := at.Int()
			if ok {
				r.sequence = n
			}
			return err
		case "response":
			if at.Kind() != '{' {
				return nil
			}
			raw, err := at.Value()
			if err == nil && !r.began && len(raw) <= maxResponse {
				r.response = append([]byte(nil), raw...)
			}
			r.began = r.began || err == nil
			return err
		}
		return nil
	})
}

func (r *responses) finish(e *Ending) []document {
	if !r.began {
		return nil
	}
	response := make(map[string]any)
	var told map[string]json.RawMessage
	if json.Unmarshal(r.response, &told) == nil {
		for key, value := range told {
			response[key] = value
		}
	}
	for key, value := range map[string]any{
		"object": "response", "status": "incomplete", "incomplete_details": map[string]string{"reason": "max_output_tokens"}, "keel": e.keel(),
	} {
		response[key] = value
	}
	if response["output"] == nil {
		response["output"] = []any{}
	}
	return []document{{"response.incomplete", render(struct {
		Type     string         `json:"type"`
		Sequence int64          `json:"sequence_number"`
		Response map[string]any `json:"response"`
	}{"response.incomplete", r.sequence + 1, response})}}
}

// fail tells the error twice, as the API has told it in turn: in members of the event and in an
// object, which is where the official libraries look.
func (r *responses) fail(e *Ending) []document {
	var rendered struct {
		Error json.RawMessage `json:"error"`
	}
	_ = json.Unmarshal(e.openAIError(), &rendered)
	return []document{{"error", render(struct {
		Type     string          `json:"type"`
		Sequence int64           `json:"sequence_number"`
		Code     string          `json:"code"`
		Message  string          `json:"message"`
		Param    *string         `json:"param"`
		Error    json.RawMessage `json:"error"`
	}{"error", r.sequence + 1, e.Code, e.Message, nil, rendered.Error})}}
}
