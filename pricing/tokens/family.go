package tokens

import "strings"

// family is what is known of models that share a tokenizer and a template.
type family struct {
	name string // "" for models that are not known
	*figures
	published bool // tokenizer and framing are published: plain text is bounded provably
	image     imageRule
	window    int64 // most input tokens, 0 unknown
	maxOutput int64 // documented most output tokens, 0 unknown
	noOutput  bool
	output    *outputs
}

// figures are what a tokenizer and a template make of a prompt. Each is a
// size, never negative, so that a larger prompt is never estimated smaller.
type figures struct {
	vocabulary vocabulary

	// Thousandths of a token for a token counted in the vocabulary.
	text, call, result int64
	rendered           int64 // of tools as TypeScript
	compact            int64 // of tools as compact JSON
	schema             int64
	hidden             int64 // thousandths of a token for a byte, where earlier calls follow; else nothing

	// Tokens.
	common     int64 // so much of the text counts one for one: short prompts are words that every vocabulary has
	prompt     int64 // around the prompt and its first message
	message    int64 // around each further message
	system     int64 // around a system message
	calls      int64 // around an earlier tool call and its result
	tools      int64 // hidden tool prompt
	flatTools  int64 // the same where tools come unwrapped, as in OpenAI's Responses
	joined     int64 // saved where tools join a system message
	tool       int64 // around each tool
	member     int64 // around each member of its parameters' types
	forced     int64 // for a forced tool choice
	withSchema int64 // instructions that go with an output schema
	thinking   int64
	citation   int64 // instructions that go with citations

	// What a calibrated bound has above the expected number.
	margin       int64 // thousandths of the expected number
	slack        int64 // tokens
	toolSlack    int64 // tokens, with tools
	flatSlack    int64 // tokens, with tools that come unwrapped
	toolMargin   int64 // thousandths of the tools' tokens, for nested definitions that cost more than their text
	schemaMargin int64 // thousandths of the schema's tokens
	textBytes    int64 // thousandths of a token for a byte of text: words that are one token to OpenAI can be several
	hiddenBytes  int64 // thousandths of a token for a byte that only the provider can read

	// Few recordings tell of the family, with tools or without: its bounds allow for a template that nobody has seen.
	fewTexts, fewTools bool
}

// unseenTemplate is room for a template that no recording tells of: the largest that was seen of any family is
// 1,386 tokens.
const unseenTemplate = 1_500

// around is how far a bound's allowance for the template goes. Free hosts behind OpenRouter were seen to put up to
// 687 tokens of their own in front.
func (f *figures) around(model string) int64 {
	if f.fewTexts || strings.HasSuffix(model, ":free") {
		return max(f.slack, unseenTemplate)
	}
	return f.slack
}

// aroundTools is the same for what tools add.
func (f *figures) aroundTools() int64 {
	if f.fewTools {
		return max(f.toolSlack, unseenTemplate)
	}
	return f.toolSlack
}

// familyOf is the family of a model as requests, gateways and clouds name
// it. Who serves it matters only where that was seen to change the count.
func familyOf(provider, model string) *family { return families.of(provider, model) }

// findFamily looks at the table of models.
func findFamily(provider, model string) *family {
	model = strings.ToLower(model)
	for i := range models {
		if r := &models[i]; wordIn(model, r.word) && (r.at == "" || strings.Contains(provider, r.at)) {
			return &r.family
		}
	}
	return &unknown
}

// rule says which family a model name belongs to: the first whose word is in it.
type rule struct {
	word string
	at   string // only at providers with this in their name
	family
}

// wordIn reports whether word is in name and starts at a boundary, so that o1 is in openai/o1 but
// not in turbo1.
func wordIn(name, word string) bool {
	for from := 0; ; {
		i := strings.Index(name[from:], word)
		if i < 0 {
			return false
		}
		i += from
		if i == 0 || !alphanumeric(name[i-1]) {
			return true
		}
		from = i + 1
	}
}

func alphanumeric(c byte) bool { return 'a' <= c && c <= 'z' || '0' <= c && c <= '9' }
