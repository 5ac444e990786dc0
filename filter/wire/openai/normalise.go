package openai

import "keel/pricing/meter"

// normalise turns counts into disjoint quantities. partial: one side was not
// stated and does not follow from the total, or neither was.
//
// Cached, audio and image tokens are inside prompt, and clamped to it (Azure
// reports cached above prompt for some models). The exception is Mistral's
// sound, which is inside the total and outside the prompt: measured 9 prompt,
// 248 completion and 375 audio tokens of 632. Mistral tells its seconds beside
// them and bills those, so the tokens are counted as not billed.
//
// Reasoning is inside completion unless total is more than prompt and completion together: then all that is
// beyond the prompt is output, which covers xAI chat (total = prompt +
// completion + reasoning) and Google's compatible endpoint (total counts
// thoughts that nothing else shows). Where a part of it is reported as
// reasoning beyond completion without such proof, it is clamped.
func (u *counts) normalise() (usage meter.Usage, partial bool) {
	prompt, completion := u.prompt, u.completion
	switch {
	case prompt < 0 && completion < 0 && u.total < 0: // seconds alone, or nothing but a cost
		prompt, completion, partial = 0, 0, u.seconds < 0
	case prompt < 0 && completion < 0: // total alone: all that is known went one way or the other
		prompt, completion, partial = u.total, 0, true
	case completion < 0:
		completion, partial = max(u.total-prompt, 0), u.total < prompt
	case prompt < 0:
		prompt, partial = max(u.total-completion, 0), u.total < completion
	}
	reasoning := max(u.reasoning, 0)
	beyond := u.total - prompt - completion
	promptAudio, outside := u.promptAudio, int64(0)
	if promptAudio > 0 && beyond >= promptAudio && (u.seconds >= 0 || beyond == promptAudio && beyond != reasoning) {
		outside, promptAudio = promptAudio, 0
		beyond -= outside
	}
	output := completion
	switch {
	case beyond > 0:
		output += beyond
	case u.apart:
		output += reasoning
	}

	left := prompt
	take := func(kind meter.Kind, from *int64, n int64) {
		n = min(max(n, 0), *from)
		usage[kind] += n
		*from -= n
	}
	cached := min(max(u.cached, 0), prompt)
	take(meter.CachedInputAudio, &cached, u.cachedAudio)
	take(meter.CachedInputImage, &cached, u.cachedImage)
	take(meter.CachedInput, &cached, cached)
	left -= usage.CachedInputTokens()
	take(meter.CacheWrite5m, &left, u.cacheWrite)
	take(meter.InputAudio, &left, promptAudio-usage[meter.CachedInputAudio])
	take(meter.InputImage, &left, u.promptImage-usage[meter.CachedInputImage])
	take(meter.InputVideo, &left, u.promptVideo)
	usage[meter.Input] = left + max(u.citations, 0) // Perplexity bills what it read at the rate of input
	if outside > 0 && u.seconds >= 0 {
		usage[meter.UnbilledInput] = outside
	} else {
		usage[meter.InputAudio] += outside
	}

	take(meter.Reasoning, &output, reasoning)
	take(meter.OutputAudio, &output, u.completionAudio)
	take(meter.OutputImage, &output, u.completionImage)
	usage[meter.Output] = output

	usage[meter.WebSearch] = max(u.searches, 0)
	usage[meter.FileSearch] = max(u.fileSearches, 0)
	usage[meter.CodeInterpreter] = max(u.codeCalls, 0)
	usage[meter.HostedTools] = max(u.toolCalls-max(u.searches, 0), 0) + max(u.hosted, 0)
	usage[meter.InputSeconds] = max(u.seconds, 0)
	return usage, partial
}
