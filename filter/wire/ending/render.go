package ending

import (
	"bytes"
	"encoding/json"
)

// keel is Keel's own part of what ends a stream, beside the members of the API:
// client libraries leave members alone that they do not know.
type keel struct {
	Code       string `json:"code"`
	Message    string `json:"message"`
	DecisionID string `json:"decision_id"`
}

func (e *Ending) keel() keel { return keel{e.Code, e.Message, e.DecisionID} }

// errorBody is the rendered error on one line. An ending that should have been an answer
// and can't be one is an error all the same.
func (e *Ending) errorBody(otherwise any) []byte {
	if e.Error != nil {
		return bytes.TrimSpace(e.Error)
	}
	return render(otherwise)
}

func render(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil { // plain values always encode
		panic("ending: " + err.Error())
	}
	return b
}
