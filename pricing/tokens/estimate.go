package tokens

import "math"

// Method names this estimator and its version in records. It changes whenever a number can.
const Method = "bytes/1"

// Input is an estimate of input tokens.
type Input struct {
	Expected int64 // likely
	Bound    int64 // at most, as far as Kind goes; never below Expected
	Kind     BoundKind
	Method   string
}

// Output is an estimate of output tokens of all choices together, reasoning included.
type Output struct {
	Expected int64
	Bound    int64
	Kind     BoundKind
}

// unknownWindow stands for the context window of a model that is not in the table.
const unknownWindow = 1_000_000

// EstimateInput estimates the input tokens of p for a model, by the name that
// requests use.
//
// The bound of text is its bytes: every token of a byte-level tokenizer is at
// least one byte long, and those with byte fallback add none. On top come allowances for what
// chat templates put around messages, tools and schemas. Kind is
//
//   - Provable for text and token ids alone, sent to OpenAI or Azure for models
//     whose tokenizer and message framing OpenAI publishes (gpt-3.5 to gpt-4.1);
//   - Calibrated for other families with measured allowances, for tools,
//     schemas and images, and where the bound is cut at the model's context window;
//   - None for opaque prompts, for inline audio, video and documents (a compressed
//     page can hold more text than bytes), for images of families without a
//     published rule, and for unknown models. Bound is then the context window or more.
func EstimateInput(provider, model string, p Prompt) Input {
	f := familyOf(model)
	in := Input{Expected: f.expected(p), Method: Method}

	bound := add(p.TextBytes, p.TokenIDs)
	bound = add(bound, f.fixedBound)
	bound = add(bound, mul(p.Messages, f.messageBound))
	in.Kind = Calibrated
	if f.published && (provider == "openai" || provider == "azure") {
		in.Kind = Provable
	}
	if p.Tools > 0 || p.ToolBytes > 0 {
		bound = add(bound, add(f.toolsBound, mul(p.Tools, f.toolBound)))
		bound = add(bound, p.ToolBytes)
		in.Kind = Calibrated
	}
	if p.SchemaBytes > 0 {
		bound = add(bound, add(f.schemaBound, mul(p.SchemaBytes, f.schemaFactor)))
		in.Kind = Calibrated
	}
	if p.Images > 0 {
		bound = add(bound, mul(p.Images, f.imageBound))
		in.Kind = Calibrated
	}
	if window := f.window; window > 0 && bound > window {
		bound, in.Kind = window, Calibrated // the provider refuses what does not fit
	}
	if f.name == "" || p.Opaque != "" || p.Media > 0 || (p.Images > 0 && !f.imageRule) {
		in.Kind = None
		bound = max(bound, f.window)
		if f.window == 0 {
			bound = max(bound, unknownWindow)
		}
	}
	in.Expected = min(in.Expected, bound)
	in.Bound = bound
	return in
}

// EstimateOutput estimates the output tokens of a call that states a limit a
// choice (0 for none) and asks for so many choices (at least 1 is assumed).
//
// A stated limit is Provable where the provider's reference says that it
// counts everything billed as output, reasoning included: max_completion_tokens and
// max_output_tokens of OpenAI ("including visible output tokens and reasoning tokens"), max_tokens of
// Anthropic (thinking counts toward it), maxOutputTokens of Google (thoughts count
// toward it). Elsewhere it is Calibrated. Without a stated limit the bound is
// the model's documented most, Calibrated, else its context window, else a million tokens, None.
func EstimateOutput(provider, model string, stated, choices int64) Output {
	f := familyOf(model)
	choices = max(choices, 1)
	var out Output
	switch {
	case f.noOutput:
		return Output{Kind: Provable}
	case stated > 0:
		out.Bound, out.Kind = stated, Calibrated
		if limitCountsReasoning[provider] {
			out.Kind = Provable
		}
	case f.maxOutput > 0:
		out.Bound, out.Kind = f.maxOutput, Calibrated
	case f.window > 0:
		out.Bound, out.Kind = f.window, None
	default:
		out.Bound, out.Kind = unknownWindow, None
	}
	out.Expected = mul(min(f.likelyOutput, out.Bound), choices)
	out.Bound = mul(out.Bound, choices)
	return out
}

var limitCountsReasoning = map[string]bool{
	"openai": true, "azure": true, "anthropic": true, "google": true, "vertex": true,
}

// expected is the likely number of input tokens.
func (f *family) expected(p Prompt) int64 {
	n := add(p.TokenIDs, milli(p.TextBytes, f.textMilli))
	n = add(n, add(f.fixed, mul(p.Messages, f.message)))
	if p.Tools > 0 || p.ToolBytes > 0 {
		n = add(n, add(f.tools, mul(p.Tools, f.tool)))
		n = add(n, milli(p.ToolBytes, f.toolMilli))
	}
	n = add(n, milli(p.SchemaBytes, f.schemaMilli))
	n = add(n, mul(p.Images, f.image))
	// A document is about a token for every 20 bytes of base64; audio is less.
	return add(n, max(p.MediaBytes, 0)/20)
}

// milli is n × thousandths, rounded up.
func milli(n, thousandths int64) int64 {
	return add(mul(max(n, 0)/1000, thousandths), (max(n, 0)%1000*thousandths+999)/1000)
}

// add and mul stay at the largest number instead of overflowing, and take a
// negative size for zero: sizes come from outside.
func add(a, b int64) int64 {
	a, b = max(a, 0), max(b, 0)
	if a > math.MaxInt64-b {
		return math.MaxInt64
	}
	return a + b
}

func mul(a, b int64) int64 {
	a, b = max(a, 0), max(b, 0)
	if b != 0 && a > math.MaxInt64/b {
		return math.MaxInt64
	}
	return a * b
}
