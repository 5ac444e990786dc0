package openai

import (
	"net/url"

	"keel/filter/wire"
	"keel/filter/wire/walk"
)

// rename returns path with the deployment replaced, and how to replace the
// model in the body, or the member to add where the body has none. With a
// deployment and a model both are changed: Azure goes by the path, and a body
// that says something else would only mislead.
func (m *marks) rename(path, model string) (newPath string, edits []walk.Replacement, added []byte) {
	if model == "" {
		return path, nil, nil
	}
	inPath := m.deployment.Len() > 0
	if inPath {
		path = path[:m.deployment.Start] + url.PathEscape(model) + path[m.deployment.End:]
	}
	switch {
	case m.model.Len() > 0:
		edits = append(edits, walk.Replacement{At: m.model, With: walk.Quote(model)})
	case !inPath:
		added = walk.Member(nil, "model", walk.Quote(model))
	}
	return path, edits, added
}

// splice applies edits to body and puts the list of added members, if any, in
// front of the others.
func (m *marks) splice(body []byte, edits []walk.Replacement, added []byte) []byte {
	if added != nil {
		edits = append(edits, walk.Insert(body, m.root, added))
	}
	return walk.Splice(body, edits...)
}

// lower brings every limit that stands down to most.
func (m *marks) lower(most int64) []walk.Replacement {
	var edits []walk.Replacement
	for _, c := range m.caps {
		if c.value == 0 || c.value > most {
			edits = append(edits, walk.Replacement{At: c.at, With: walk.Number(most)})
		}
	}
	return edits
}

// refuse renders a refusal as OpenAI renders an error. The official clients
// choose the exception by the status; type is what people match on: they know
// insufficient_quota as "out of money", not as "too fast".
func refuse(r wire.Refusal) (string, []byte) {
	kind := "invalid_request_error"
	switch {
	case r.Status == 401:
		kind = "authentication_error"
	case r.Status == 403:
		kind = "permission_error"
	case r.Status == 429:
		kind = "insufficient_quota"
	case r.Status >= 500:
		kind = "server_error"
	}
	keel := walk.Member(nil, "decision_id", walk.Quote(r.DecisionID))
	if len(r.Details) > 0 {
		keel = walk.Member(keel, "details", walk.Strings(r.Details))
	}
	e := walk.Member(nil, "message", walk.Quote(r.Message))
	e = walk.Member(e, "type", walk.Quote(kind))
	e = walk.Member(e, "param", []byte("null"))
	e = walk.Member(e, "code", walk.Quote(r.Code))
	e = walk.Member(e, "keel", walk.Object(keel))
	return "application/json", append(walk.Object(walk.Member(nil, "error", walk.Object(e))), '\n')
}
