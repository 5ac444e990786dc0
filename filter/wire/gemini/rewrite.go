package gemini

import (
	"net/url"
	"strings"

	"keel/filter/wire"
	"keel/filter/wire/walk"
	"keel/pricing/tokens"
)

// Rewrite implements wire.Codec. The model is replaced in the path, and in a
// body that repeats or states it.
func (*codec) Rewrite(r *wire.Request, path string, body []byte, edit wire.Edit) (string, []byte) {
	at, ok := r.Marks.(*marks)
	if !ok {
		return path, body
	}
	var changes []walk.Replacement
	if edit.Model != "" && edit.Model != r.Model {
		if t, ok := parsePath(path); ok && r.API != wire.GeminiCache {
			path = path[:t.start] + resource(edit.Model) + path[t.end:]
		}
		for _, span := range at.models {
			changes = append(changes, walk.Replacement{At: span, With: renamed(body[span.Start:span.End], edit.Model)})
		}
	}
	// What writes nothing has no limit, and Google refuses names that it does not know.
	writes := r.Prompt.Task == tokens.Generate && r.API != wire.VertexPredict
	for _, a := range at.asks {
		if n := edit.MaxOutputTokens; writes && n > 0 && (a.limit == 0 || n < a.limit) {
			changes = append(changes, a.lower(body, at.root, n))
		}
	}
	return path, walk.Splice(body, changes...)
}

// lower sets the limit on output to n.
func (a *ask) lower(body []byte, root wire.Span, n int64) walk.Replacement {
	config, name := "generationConfig", "maxOutputTokens"
	if a.snake {
		config, name = "generation_config", "max_output_tokens"
	}
	limit := walk.Member(nil, name, walk.Number(n))
	switch {
	case a.maxTokens.Len() > 0:
		return walk.Replacement{At: a.maxTokens, With: walk.Number(n)}
	case a.config.Len() > 0 && body[a.config.Start] == '{':
		return walk.Insert(body, a.config, limit)
	case a.config.Len() > 0: // null
		return walk.Replacement{At: a.config, With: walk.Object(limit)}
	case a.object.Len() > 0:
		root = a.object
	}
	return walk.Insert(body, root, walk.Member(nil, config, walk.Object(limit)))
}

// renamed is model in the form that the body has now: bare, in its
// collection, or with the project in front.
func renamed(old []byte, model string) []byte {
	text := strings.Trim(string(old), `"`)
	switch i := strings.LastIndex(text, "/models/"); {
	case i >= 0 && !strings.Contains(model, "/"):
		return walk.Quote(text[:i] + "/models/" + model)
	case strings.Contains(text, "/"):
		return walk.Quote(collected(model))
	}
	return walk.Quote(model)
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
