package anthropic

import (
	"net/url"

	"keel/filter/wire"
	"keel/filter/wire/walk"
)

// minThinking is the smallest thinking budget that the API takes.
const minThinking = 1024

// Rewrite implements wire.Codec. A thinking budget has to stay below
// max_tokens, or the provider refuses the request; it is lowered along as far
// as the API allows.
func (Codec) Rewrite(r *wire.Request, path string, body []byte, edit wire.Edit) (string, []byte) {
	at := r.Marks.(marks)
	var changes []walk.Replacement
	var added []byte
	// set replaces a member, or adds it where the body has none.
	set := func(name string, span wire.Span, value []byte) {
		if span.Len() > 0 {
			changes = append(changes, walk.Replacement{At: span, With: value})
		} else {
			added = walk.Member(added, name, value)
		}
	}
	if edit.Model != "" && edit.Model != r.Model {
		if start, end, ok := pathModel(path); ok && at.modelInPath {
			path = path[:start] + url.PathEscape(edit.Model) + path[end:]
		}
		if !at.modelInPath || at.model.Len() > 0 {
			set("model", at.model, walk.Quote(edit.Model))
		}
	}
	if n := edit.MaxOutputTokens; n > 0 && (r.MaxOutputTokens == 0 || n < r.MaxOutputTokens) {
		set("max_tokens", at.maxTokens, walk.Number(n))
		if at.budgetTokens >= n && n > minThinking {
			set("", at.budget, walk.Number(n-1))
		}
	}
	if added != nil {
		changes = append(changes, walk.Insert(body, at.object, added))
	}
	return path, walk.Splice(body, changes...)
}
