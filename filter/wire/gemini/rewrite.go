package gemini

import (
	"net/url"
	"strings"

	"keel/filter/wire"
	"keel/filter/wire/walk"
)

// Rewrite implements wire.Codec. The model is replaced in the path, and in a
// body that repeats it.
func (Codec) Rewrite(r *wire.Request, path string, body []byte, edit wire.Edit) (string, []byte) {
	at := r.Marks.(marks)
	var changes []walk.Replacement
	if edit.Model != "" && edit.Model != r.Model {
		if t, ok := parsePath(path); ok {
			path = path[:t.start] + resource(edit.Model) + path[t.end:]
		}
		if at.model.Len() > 0 {
			changes = append(changes, walk.Replacement{At: at.model, With: walk.Quote(collected(edit.Model))})
		}
	}
	if n := edit.MaxOutputTokens; n > 0 && (r.MaxOutputTokens == 0 || n < r.MaxOutputTokens) {
		limit := walk.Member(nil, "maxOutputTokens", walk.Number(n))
		object := append(append([]byte{'{'}, limit...), '}')
		switch {
		case at.maxTokens.Len() > 0:
			changes = append(changes, walk.Replacement{At: at.maxTokens, With: walk.Number(n)})
		case at.config.Len() > 0 && body[at.config.Start] == '{':
			changes = append(changes, walk.Insert(body, at.config, limit))
		case at.config.Len() > 0: // null
			changes = append(changes, walk.Replacement{At: at.config, With: object})
		default:
			changes = append(changes, walk.Insert(body, at.object, walk.Member(nil, "generationConfig", object)))
		}
	}
	return path, walk.Splice(body, changes...)
}

// collected is a model with its collection, as in tunedModels/x.
func collected(model string) string {
	if strings.Contains(model, "/") {
		return model
	}
	return "models/" + model
}

// resource is collected, escaped for a path.
func resource(model string) string {
	collection, id, _ := strings.Cut(collected(model), "/")
	return url.PathEscape(collection) + "/" + url.PathEscape(id)
}
