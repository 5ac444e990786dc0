package openai

import (
	"net/url"
	"strings"

	"keel/filter/wire"
	"keel/filter/wire/walk"
)

// rewrite applies edit. Where the body states no limit on the output and name
// is not empty, one of most tokens is added under that name.
func (m *marks) rewrite(r *wire.Request, path string, body []byte, edit wire.Edit, name string, most int64) (string, []byte) {
	newPath, edits, added := m.rename(path, edit.Model)
	if edit.MaxOutputTokens > 0 {
		edits = append(edits, m.lower(edit.MaxOutputTokens)...)
		if len(m.caps) == 0 && name != "" {
			added = walk.Member(added, name, walk.Number(most))
		}
	}
	if edit.ForceUsage && r.Stream && !r.WantsUsage {
		switch {
		case m.includeUsage.Len() > 0:
			edits = append(edits, walk.Replacement{At: m.includeUsage, With: []byte("true")})
		case m.optionsNull:
			edits = append(edits, walk.Replacement{At: m.streamOptions, With: []byte(`{"include_usage":true}`)})
		case m.streamOptions.Len() > 0:
			edits = append(edits, walk.Insert(body, m.streamOptions, walk.Member(nil, "include_usage", []byte("true"))))
		default:
			added = walk.Member(added, "stream_options", []byte(`{"include_usage":true}`))
		}
	}
	if added != nil {
		edits = append(edits, walk.Insert(body, m.root, added))
	}
	return newPath, walk.Splice(body, edits...)
}

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
	case m.boundary != "":
		edits = m.renameField(model, inPath)
	case m.model.Len() > 0:
		edits = append(edits, walk.Replacement{At: m.model, With: walk.Quote(model)})
	case !inPath:
		added = walk.Member(nil, "model", walk.Quote(model))
	}
	return path, edits, added
}

// renameField is rename for a multipart body. A name with a line break in it
// would end its part, and is left out.
func (m *marks) renameField(model string, inPath bool) []walk.Replacement {
	switch {
	case strings.ContainsAny(model, "\r\n"):
		return nil
	case m.model.Len() > 0:
		return []walk.Replacement{{At: m.model, With: []byte(model)}}
	case inPath:
		return nil
	}
	part := "--" + m.boundary + "\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\n" + model + "\r\n"
	return []walk.Replacement{{With: []byte(part)}}
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
