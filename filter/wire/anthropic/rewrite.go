package anthropic

import (
	"net/url"

	"keel/filter/wire"
	"keel/filter/wire/walk"
)

// minThinking is the smallest thinking budget that the API takes.
const minThinking = 1024

// Rewrite implements wire.Codec. Of a batch whose requests name several
// models, those that name the model of the request as a whole are changed.
func (*codec) Rewrite(r *wire.Request, path string, body []byte, edit wire.Edit) (string, []byte) {
	if t := parsePath("", path); edit.Model != "" && edit.Model != r.Model && t.model != "" {
		path = path[:t.start] + url.PathEscape(edit.Model) + path[t.end:]
	}
	return path, RewriteBody(r, body, edit)
}

// RewriteBody applies edit to a body that ReadBody or a codec of this package
// read r from. With an edit that changes nothing it is body itself. Where
// something outside of the body names the model, the body names it only if it
// did before.
func RewriteBody(r *wire.Request, body []byte, edit wire.Edit) []byte {
	at, ok := r.Marks.(*marks)
	if !ok {
		return body
	}
	var changes []walk.Replacement
	for i := range at.asks {
		changes = at.asks[i].rewrite(changes, at, r.Model, body, edit)
	}
	return walk.Splice(body, changes...)
}

// rewrite adds what edit changes in one request. A thinking budget has to stay below
// max_tokens, or the provider refuses the request; it is lowered along as far
// as the API allows.
func (a *ask) rewrite(changes []walk.Replacement, at *marks, model string, body []byte, edit wire.Edit) []walk.Replacement {
	var added []byte
	// set replaces a member, or adds it where there is none.
	set := func(name string, span wire.Span, value []byte) {
		if span.Len() > 0 {
			changes = append(changes, walk.Replacement{At: span, With: value})
		} else {
			added = walk.Member(added, name, value)
		}
	}
	if edit.Model != "" && edit.Model != model && (a.model.Len() > 0 || !at.outside) && (a.name == model || a.name == "") {
		set("model", a.model, walk.Quote(edit.Model))
	}
	if n := edit.MaxOutputTokens; n > 0 && at.limit != "" && (a.limit == 0 || n < a.limit) {
		set(at.limit, a.maxTokens, walk.Number(n))
		if a.budgetTokens >= n && n > minThinking {
			set("", a.budget, walk.Number(n-1))
		}
	}
	if added != nil {
		object := a.object
		if object.Len() == 0 {
			object = at.root
		}
		changes = append(changes, walk.Insert(body, object, added))
	}
	return changes
}
