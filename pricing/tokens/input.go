package tokens

// unknownWindow stands for the context window of a model that is not in the table.
const unknownWindow = 1_000_000

// Input estimates the input tokens of p for a model, by the names that routes and
// requests use.
//
// Kind is
//
//   - Provable for text and token ids alone, sent to OpenAI or Azure for models
//     whose tokenizer and message framing OpenAI publishes: the count is exact, and the framing is
//     taken at its most;
//   - Calibrated elsewhere where the model is known: the expected number with a margin that holds in
//     at least 99.5 % of recorded text and tool requests, also when the figures are
//     fitted without them or without all of their source (TestAccuracy). Where few recordings tell of a family
//     it has room for the largest template that was seen of any. It is a statement about traffic of the recorded
//     kinds: text made to be long in the maker's own vocabulary and short in the counted one can exceed it. Without tools
//     it is never above what the bytes can be;
//   - None where the provider adds what the request does not show (hosted tools, stored state, file
//     ids, URLs), for inline audio, video and documents (a compressed page can hold more text than bytes), for
//     images of makers without a published rule, and for unknown models. Bound is then the
//     context window or more.
func (e *Estimator) Input(provider, model string, p *Prompt) Input {
	f := familyOf(provider, model)
	m := p.measured(f.vocabulary)
	expected := f.expected(p, m)
	bound, kind := f.bound(provider, model, p, m, expected)
	in := Input{Kind: kind, Method: version, Key: Key{provider, f.name, p.RequestClass()}, Uncorrected: min(expected, bound), Shipped: bound}
	in.Expected, in.Bound = in.Uncorrected, bound
	e.calibration.Load().correctInput(&in)
	return in
}

// Likely is the likely number of input tokens of p by the rules of a model's family, also where that is more than the
// model takes: Input stops at its context window, because a provider refuses the rest.
func (e *Estimator) Likely(provider, model string, p *Prompt) int64 {
	f := familyOf(provider, model)
	return f.expected(p, p.measured(f.vocabulary))
}

// expected is the likely number of input tokens.
func (f *family) expected(p *Prompt, m *measured) int64 {
	common := min(m.tokens[Text], f.common)
	n := add(add(p.TokenIDs, common), milli(m.tokens[Text]-common, f.text))
	n = add(n, milli(m.tokens[ToolCall], f.call))
	n = add(n, milli(m.tokens[ToolResult], f.result))
	if p.Task == Embed || p.Task == Rerank || p.Task == Moderate {
		return n // no chat template
	}
	n = add(n, f.prompt)
	others := max(p.Messages, 1) - 1
	if p.System && p.Messages > 1 {
		others--
		n = add(n, f.system)
	}
	n = add(n, mul(others, f.message))
	// A call is a name and its arguments.
	n = add(n, mul((m.callParts+1)/2, f.calls))
	if m.segments[ToolCall] > 0 {
		n = add(n, milli(m.bytes[Hidden], f.hidden))
	}
	n = add(n, f.tooling(p, m))
	if m.tokens[Schema] > 0 {
		n = add(n, add(f.withSchema, milli(m.tokens[Schema], f.schema)))
	}
	for _, i := range p.Images {
		n = add(n, f.image.expected(i))
	}
	for _, media := range p.Media {
		n = add(n, f.image.media(media))
	}
	if p.Thinking {
		n = add(n, f.thinking)
	}
	if p.Citations > 0 {
		n = add(n, f.citation)
	}
	return n
}

// tooling is what tools are likely to add.
func (f *family) tooling(p *Prompt, m *measured) int64 {
	if m.definitions == 0 && p.Tools <= 0 {
		return 0
	}
	n := f.tools
	if m.definitions > 0 && !m.nested {
		n = f.flatTools
	}
	if p.System && m.nested {
		n -= min(n, f.joined)
	}
	n = add(n, add(mul(max(m.definitions, p.Tools), f.tool), mul(m.members, f.member)))
	n = add(n, add(milli(m.rendered, f.rendered), milli(m.compact, f.compact)))
	if p.ToolChoice {
		n = add(n, f.forced)
	}
	return n
}

// Framing of OpenAI's chat format at its most: 3 around a message, a role, a name with the token
// that marks it; 3 that prime the answer. Early Responses had a preamble of 18.
const (
	mostPerMessage = 6
	mostAround     = 3 + 18
)

// bound is what input tokens are not expected to exceed, and what that is worth.
func (f *family) bound(provider, model string, p *Prompt, m *measured, expected int64) (int64, BoundKind) {
	kind := Calibrated
	var bound int64
	if f.published && (provider == "openai" || provider == "azure") && plain(p, m) {
		kind = Provable
		bound = add(add(m.tokens[Text], p.TokenIDs), add(mostAround, mul(p.Messages, mostPerMessage)))
	} else {
		bound = f.calibrated(p, m, expected, f.around(model))
	}
	if f.window > 0 && bound > f.window {
		bound, kind = f.window, Calibrated // the provider refuses what does not fit
	}
	if f.name == "" || p.Hosted != "" || len(p.Media) > 0 || len(p.Images) > 0 && f.image.kind == noImageRule {
		kind = None
		bound = max(bound, f.window)
		if f.window == 0 {
			bound = max(bound, unknownWindow)
		}
	}
	return bound, kind
}

// plain reports that p is text and token ids alone.
func plain(p *Prompt, m *measured) bool {
	var segments int64
	for _, n := range m.segments {
		segments += n
	}
	return m.segments[Text] == segments && p.Tools <= 0 && len(p.Images) == 0 && len(p.Media) == 0
}

// calibrated is the expected number with the family's margin, and so much for its template. Text is not
// given more than its bytes: no tokenizer makes more tokens of it than that.
func (f *family) calibrated(p *Prompt, m *measured, expected, around int64) int64 {
	var images int64
	for _, i := range p.Images {
		expected -= min(expected, f.image.expected(i))
		images = add(images, f.image.bound(i))
	}
	bound := milli(expected, 1000+f.margin)
	if text := milli(m.tokens[Text], f.text); f.textBytes > 0 {
		bound = max(bound, add(expected-min(expected, text), milli(m.bytes[Text], f.textBytes)))
	}
	bound = add(bound, add(around, mul(p.Messages, 2)))
	bound = add(bound, add(milli(m.tokens[Schema], f.schemaMargin), milli(m.bytes[Hidden], f.hiddenBytes)))
	if m.definitions > 0 || p.Tools > 0 {
		bound = add(bound, add(f.aroundTools(), milli(max(m.rendered, m.compact), f.toolMargin)))
		if !m.nested {
			bound = add(bound, f.flatSlack)
		}
	} else {
		bound = min(bound, f.bytes(p, m, around))
	}
	return add(bound, images)
}

// bytes is what text can't exceed in any vocabulary, with the family's template around it.
func (f *family) bytes(p *Prompt, m *measured, around int64) int64 {
	n := add(p.TokenIDs, add(f.prompt, mul(p.Messages, 16+max(f.message, f.system))))
	n = add(n, add(around, f.thinking))
	n = add(n, add(f.citation, mul((m.callParts+1)/2, f.calls)))
	if m.bytes[Schema] > 0 {
		n = add(n, f.withSchema)
	}
	for class, bytes := range m.bytes {
		per := int64(1)
		if Class(class) == Schema {
			per = 3 // a grammar made of it
		}
		n = add(n, mul(bytes, per))
	}
	for _, media := range p.Media {
		n = add(n, f.image.media(media))
	}
	return n
}
