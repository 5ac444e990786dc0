package tokens

// outputs are quantiles of output tokens by request class.
type outputs struct{ text, schema, tools, media, hosted quantiles }

type quantiles struct{ mean, p50, p90, p99 int64 }

func (o *outputs) of(class RequestClass) quantiles {
	switch class {
	case ClassText:
		return o.text
	case ClassSchema:
		return o.schema
	case ClassTools:
		return o.tools
	case ClassImages, ClassMedia:
		return o.media
	}
	return o.hosted
}

// What was recorded, by makers whose models answer at a like length. Test prompts are short: learning moves
// these where real applications differ.
var (
	outputsGPT = outputs{
		text: quantiles{100, 17, 354, 1_037}, schema: quantiles{53, 44, 100, 286}, tools: quantiles{43, 18, 101, 362},
		media: quantiles{41, 35, 72, 167}, hosted: quantiles{57, 20, 164, 364},
	}
	outputsReasoning = outputs{
		text: quantiles{472, 120, 1_616, 4_600}, schema: quantiles{525, 434, 1_881, 1_962}, tools: quantiles{263, 112, 592, 2_456},
		media: quantiles{308, 256, 719, 729}, hosted: quantiles{321, 47, 880, 3_367},
	}
	outputsClaude = outputs{
		text: quantiles{128, 40, 400, 1_306}, schema: quantiles{56, 18, 118, 573}, tools: quantiles{72, 58, 137, 271},
		media: quantiles{75, 59, 165, 296}, hosted: quantiles{156, 90, 354, 1_245},
	}
	outputsGemini2 = outputs{
		text: quantiles{79, 13, 293, 578}, schema: quantiles{147, 46, 635, 635}, tools: quantiles{17, 9, 24, 234},
		media: quantiles{55, 41, 115, 162}, hosted: quantiles{96, 60, 205, 205},
	}
	// From 2.5 on Gemini thinks unasked.
	outputsGemini = outputs{
		text: quantiles{517, 207, 1_807, 2_581}, schema: quantiles{270, 199, 482, 645}, tools: quantiles{123, 70, 297, 1_256},
		media: quantiles{433, 226, 1_223, 1_314}, hosted: quantiles{427, 354, 1_273, 1_332},
	}
	outputsGrok = outputs{
		text: quantiles{345, 144, 1_703, 2_525}, schema: quantiles{149, 149, 290, 290}, tools: quantiles{168, 128, 334, 546},
		media: quantiles{199, 208, 421, 421}, hosted: quantiles{312, 396, 444, 444},
	}
	// DeepSeek, GLM, gpt-oss, Qwen: open models that think unasked.
	outputsOpen = outputs{
		text: quantiles{360, 110, 817, 5_074}, schema: quantiles{90, 60, 233, 233}, tools: quantiles{85, 60, 180, 364},
		media: quantiles{92, 75, 193, 193}, hosted: quantiles{429, 95, 2_842, 2_842},
	}
	outputsOther = outputs{
		text: quantiles{156, 37, 410, 2_337}, schema: quantiles{50, 14, 302, 302}, tools: quantiles{59, 33, 106, 703},
		media: quantiles{92, 75, 193, 193}, hosted: quantiles{429, 95, 2_842, 2_842},
	}
	outputsNone outputs
)

// Output estimates the output tokens of a call that states a limit a
// choice (0 for none) and asks for so many choices (at least 1 is assumed; a
// completions call asks for n of each of its prompts).
//
// A stated limit is Provable where the provider's reference says that it
// counts everything billed as output, reasoning included: max_completion_tokens and
// max_output_tokens of OpenAI ("including visible output tokens and reasoning tokens"), max_tokens of
// Anthropic (thinking counts toward it), maxOutputTokens of Google (thoughts count
// toward it). Elsewhere it is Calibrated. Without a stated limit the bound is
// the model's documented most, Calibrated, else its context window, else a million tokens, None.
// Embedding, reranking, counting and moderating have no output.
func (e *Estimator) Output(provider, model string, p *Prompt, stated, choices int64) Output {
	f := familyOf(provider, model)
	choices = max(choices, 1)
	class := p.RequestClass()
	out := Output{Kind: Provable, Method: version, Key: Key{provider, f.name, class}, Choices: choices}
	switch p.Task {
	case Embed, Rerank, Count, Moderate:
		return out
	}
	if f.noOutput {
		return out
	}
	switch {
	case stated > 0:
		out.Bound = stated
		if !limitCountsReasoning[provider] {
			out.Kind = Calibrated
		}
	case f.maxOutput > 0:
		out.Bound, out.Kind = f.maxOutput, Calibrated
	case f.window > 0:
		out.Bound, out.Kind = f.window, None
	default:
		out.Bound, out.Kind = unknownWindow, None
	}
	q := f.output.of(class)
	e.calibration.Load().correctOutput(&out, &q)
	// A median limit is no median answer: what is above the limit is cut at it.
	out.Expected = mul(min(q.mean, out.Bound), choices)
	out.P50 = mul(min(q.p50, out.Bound), choices)
	out.P90 = mul(min(q.p90, out.Bound), choices)
	out.P99 = mul(min(q.p99, out.Bound), choices)
	out.Bound = mul(out.Bound, choices)
	return out
}

var limitCountsReasoning = map[string]bool{
	"openai": true, "azure": true, "anthropic": true, "google": true, "vertex": true,
}
