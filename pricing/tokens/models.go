package tokens

// with returns a family of these figures under a name, changed.
func (f *figures) with(name string, output *outputs, changes ...func(*family)) family {
	of := family{name: name, figures: f, output: output}
	for _, change := range changes {
		change(&of)
	}
	return of
}

// limits sets context window and most output tokens as the maker's model pages state them.
func limits(window, maxOutput int64) func(*family) {
	return func(f *family) { f.window, f.maxOutput = window, maxOutput }
}

func published(f *family) { f.published = true }

// embedding models have no chat template, and no output. A request may hold 2048 texts of 8192 tokens.
func embedding(f *family) { f.noOutput, f.window = true, 2_048*8_192 }

// images sets the rule for images.
func images(kind imageKind, base, tile int64) func(*family) {
	return func(f *family) { f.image = imageRule{kind, base, tile} }
}

// Rules for images by maker: see imageRule. OpenAI's tiles and factors are those of its images and vision
// guide, all but gpt-5's confirmed on recorded traffic, gpt-5-mini's and gpt-5-nano's (1.2 and
// 1.5 with a limit of 1,536) measured on it. From gpt-5.4 on detail "original" allows 10,000 patches.
var (
	tiles85    = images(openAITiles, 85, 170)
	tiles75    = images(openAITiles, 75, 150)
	tiles70    = images(openAITiles, 70, 140)
	claude1568 = images(claudePatches, 1_568, 1_600)
	claude2576 = images(claudePatches, 2_576, 4_784)
)

func patches(factor int64) func(*family) { return images(openAIPatches, factor, 1_536) }

// models is ordered: narrower words first. Limits are those of the makers' model pages
// (platform.openai.com/docs/models, docs.claude.com models overview,
// ai.google.dev/gemini-api/docs/models); where one word means several models, the widest.
var models = []rule{
	{"gpt-oss", "", gptOSS.with("gpt-oss", &outputsOpen, limits(131_072, 131_072))},
	{"gpt-4o-mini", "", gpt.with("gpt-4o-mini", &outputsGPT, limits(128_000, 16_384), images(openAITiles, 2_833, 5_667), published)},
	{"gpt-4o", "", gpt4o.with("gpt-4o", &outputsGPT, limits(128_000, 16_384), tiles85, published)},
	{"chatgpt-4o", "", gpt4o.with("chatgpt-4o", &outputsGPT, limits(128_000, 16_384), tiles85)},
	{"gpt-4.1-mini", "", gpt.with("gpt-4.1-mini", &outputsGPT, limits(1_047_576, 32_768), patches(1_620), published)},
	{"gpt-4.1-nano", "", gpt.with("gpt-4.1-nano", &outputsGPT, limits(1_047_576, 32_768), patches(2_460), published)},
	{"gpt-4.1", "", gpt.with("gpt-4.1", &outputsGPT, limits(1_047_576, 32_768), tiles85, published)},
	{"gpt-4.5", "", gpt.with("gpt-4.5", &outputsGPT, limits(128_000, 16_384), tiles85)},
	{"gpt-4-32k", "", gpt4.with("gpt-4-32k", &outputsGPT, limits(32_768, 32_768), published)},
	{"gpt-4-turbo", "", gpt4.with("gpt-4-turbo", &outputsGPT, limits(128_000, 4_096), tiles85, published)},
	{"gpt-4-1106", "", gpt4.with("gpt-4-turbo", &outputsGPT, limits(128_000, 4_096), tiles85, published)},
	{"gpt-4-0125", "", gpt4.with("gpt-4-turbo", &outputsGPT, limits(128_000, 4_096), tiles85, published)},
	{"gpt-4-vision", "", gpt4.with("gpt-4-turbo", &outputsGPT, limits(128_000, 4_096), tiles85)},
	{"gpt-4", "", gpt4.with("gpt-4", &outputsGPT, limits(8_192, 8_192), published)},
	{"gpt-3.5-turbo-instruct", "", completion.with("completion", &outputsGPT, limits(4_096, 4_096), published)},
	{"gpt-3.5", "", gpt4.with("gpt-3.5", &outputsGPT, limits(16_385, 4_096), published)},
	{"gpt-35", "", gpt4.with("gpt-3.5", &outputsGPT, limits(16_385, 4_096), published)}, // as Azure deployments spell it
	{"gpt-5-mini", "", gptReasoning.with("gpt-5-mini", &outputsReasoning, limits(400_000, 128_000), patches(1_200))},
	{"gpt-5-nano", "", gptReasoning.with("gpt-5-nano", &outputsReasoning, limits(400_000, 128_000), patches(1_500))},
	{"gpt-5-pro", "", gptReasoning.with("gpt-5-pro", &outputsReasoning, limits(400_000, 272_000), tiles70)},
	{"gpt-5.4", "", gptReasoning.with("gpt-5.4", &outputsReasoning, limits(1_050_000, 128_000), images(openAIPatches, 1_200, 10_000))},
	{"gpt-5.5", "", gptReasoning.with("gpt-5.4", &outputsReasoning, limits(1_050_000, 128_000), images(openAIPatches, 1_200, 10_000))},
	{"gpt-5.6", "", gptReasoning.with("gpt-5.4", &outputsReasoning, limits(1_050_000, 128_000), images(openAIPatches, 1_200, 10_000))},
	{"gpt-5", "", gptReasoning.with("gpt-5", &outputsReasoning, limits(400_000, 128_000), tiles70)},
	{"o1-mini", "", oSeries.with("o1-mini", &outputsReasoning, limits(128_000, 65_536))},
	{"o1-preview", "", oSeries.with("o1-preview", &outputsReasoning, limits(128_000, 32_768))},
	{"o1", "", oSeries.with("o-series", &outputsReasoning, limits(200_000, 100_000), tiles75)},
	{"o3", "", oSeries.with("o-series", &outputsReasoning, limits(200_000, 100_000), tiles75)},
	{"o4-mini", "", oSeries.with("o4-mini", &outputsReasoning, limits(200_000, 100_000), patches(1_720))},
	{"text-embedding", "", gpt4.with("embedding", &outputsNone, published, embedding)},
	{"davinci-002", "", completion.with("completion", &outputsGPT, limits(16_384, 16_384), published)},
	{"babbage-002", "", completion.with("completion", &outputsGPT, limits(16_384, 16_384), published)},
	{"davinci", "", legacy.with("legacy", &outputsGPT, limits(4_097, 4_097))},
	{"curie", "", legacy.with("legacy", &outputsGPT, limits(2_049, 2_049))},
	{"babbage", "", legacy.with("legacy", &outputsGPT, limits(2_049, 2_049))},
	{"ada", "", legacy.with("legacy", &outputsGPT, limits(2_049, 2_049))},

	{"claude-instant", "", claude.with("claude-2", &outputsClaude, limits(100_000, 4_096))},
	{"claude-v2", "", claude.with("claude-2", &outputsClaude, limits(200_000, 4_096))},
	{"claude-2", "", claude.with("claude-2", &outputsClaude, limits(200_000, 4_096))},
	{"claude-3-5-sonnet-20240620", "", claude35.with("claude-3.5", &outputsClaude, limits(200_000, 8_192), claude1568)},
	{"claude-3-5-haiku", "", claude35Haiku.with("claude-3.5-haiku", &outputsClaude, limits(200_000, 8_192), claude1568)},
	{"claude-3.5-haiku", "", claude35Haiku.with("claude-3.5-haiku", &outputsClaude, limits(200_000, 8_192), claude1568)},
	{"claude-3-5", "", claude4.with("claude-3.5", &outputsClaude, limits(200_000, 8_192), claude1568)},
	{"claude-3.5", "", claude4.with("claude-3.5", &outputsClaude, limits(200_000, 8_192), claude1568)},
	{"claude-3-7", "", claude4.with("claude-3.7", &outputsClaude, limits(200_000, 128_000), claude1568)}, // 64 000 without the output-128k beta
	{"claude-3.7", "", claude4.with("claude-3.7", &outputsClaude, limits(200_000, 128_000), claude1568)},
	{"claude-3-opus", "", claude3Opus.with("claude-3-opus", &outputsClaude, limits(200_000, 4_096), claude1568)},
	{"claude-3-sonnet", "", claude3Sonnet.with("claude-3-sonnet", &outputsClaude, limits(200_000, 4_096), claude1568)},
	{"claude-3-", "", claude3Haiku.with("claude-3", &outputsClaude, limits(200_000, 4_096), claude1568)},
	{"opus-4-2025", "", claude4.with("claude-opus-4", &outputsClaude, limits(200_000, 32_000), claude1568)},
	{"opus-4-0", "", claude4.with("claude-opus-4", &outputsClaude, limits(200_000, 32_000), claude1568)},
	{"opus-4-1", "", claude4.with("claude-opus-4", &outputsClaude, limits(200_000, 32_000), claude1568)},
	{"opus-4.1", "", claude4.with("claude-opus-4", &outputsClaude, limits(200_000, 32_000), claude1568)},
	{"opus-4-5", "", claude45.with("claude-opus-4.5", &outputsClaude, limits(200_000, 64_000), claude1568)},
	{"opus-4.5", "", claude45.with("claude-opus-4.5", &outputsClaude, limits(200_000, 64_000), claude1568)},
	{"opus-4-6", "", claude46.with("claude-4.6", &outputsClaude, limits(1_000_000, 128_000), claude1568)},
	{"opus-4.6", "", claude46.with("claude-4.6", &outputsClaude, limits(1_000_000, 128_000), claude1568)},
	{"sonnet-4-6", "", claude46.with("claude-4.6", &outputsClaude, limits(1_000_000, 128_000), claude1568)},
	{"sonnet-4.6", "", claude46.with("claude-4.6", &outputsClaude, limits(1_000_000, 128_000), claude1568)},
	{"opus-4-7", "", claude47.with("claude-opus-4.7", &outputsClaude, limits(1_000_000, 128_000), claude2576)},
	{"opus-4.7", "", claude47.with("claude-opus-4.7", &outputsClaude, limits(1_000_000, 128_000), claude2576)},
	{"opus-4-8", "", claude48.with("claude-opus-4.8", &outputsClaude, limits(1_000_000, 128_000), claude2576)},
	{"opus-4.8", "", claude48.with("claude-opus-4.8", &outputsClaude, limits(1_000_000, 128_000), claude2576)},
	{"sonnet-4-5", "", claude45.with("claude-sonnet-4.5", &outputsClaude, limits(1_000_000, 64_000), claude1568)}, // a million by beta header
	{"sonnet-4.5", "", claude45.with("claude-sonnet-4.5", &outputsClaude, limits(1_000_000, 64_000), claude1568)},
	{"sonnet-4", "", claude4.with("claude-sonnet-4", &outputsClaude, limits(1_000_000, 64_000), claude1568)},
	{"haiku-4", "", claude45.with("claude-haiku-4.5", &outputsClaude, limits(200_000, 64_000), claude1568)},
	{"claude", "", claude5.with("claude-new", &outputsClaude, limits(1_000_000, 128_000), claude2576)},

	{"gemini-1", "", gemini2.with("gemini-1", &outputsGemini2, limits(2_097_152, 8_192), images(gemini2Tiles, 0, 0))},
	{"gemini-2.0", "", gemini2.with("gemini-2.0", &outputsGemini2, limits(1_048_576, 8_192), images(gemini2Tiles, 0, 0))},
	{"gemini-2", "vertex", gemini25Vertex.with("gemini-2.5-vertex", &outputsGemini, limits(1_048_576, 65_536), images(geminiTiles, 0, 0))},
	{"gemini-2", "vercel", gemini25Vertex.with("gemini-2.5-vertex", &outputsGemini, limits(1_048_576, 65_536), images(geminiTiles, 0, 0))},
	{"gemini-2", "openrouter", gemini25Vertex.with("gemini-2.5-vertex", &outputsGemini, limits(1_048_576, 65_536), images(geminiTiles, 0, 0))},
	{"gemini-2", "", gemini25.with("gemini-2.5", &outputsGemini, limits(1_048_576, 65_536), images(geminiTiles, 0, 0))},
	{"gemini", "vertex", gemini3Vertex.with("gemini-3-vertex", &outputsGemini, limits(1_048_576, 65_536), images(fixedImage, 1_100, 0))},
	{"gemini", "vercel", gemini3Vertex.with("gemini-3-vertex", &outputsGemini, limits(1_048_576, 65_536), images(fixedImage, 1_100, 0))},
	{"gemini", "", gemini3.with("gemini-3", &outputsGemini, limits(1_048_576, 65_536), images(fixedImage, 1_100, 0))},

	{"grok", "azure", grokAzure.with("grok-azure", &outputsGrok, limits(2_000_000, 0))},
	{"grok-4-fast", "", grok4.with("grok-4-fast", &outputsGrok, limits(2_000_000, 0))},
	{"grok-4.1", "", grok4.with("grok-4-fast", &outputsGrok, limits(2_000_000, 0))},
	{"grok-4-1", "", grok4.with("grok-4-fast", &outputsGrok, limits(2_000_000, 0))},
	{"grok-code", "", grokCode.with("grok-code", &outputsGrok, limits(2_000_000, 0))},
	{"grok-3", "", grok3.with("grok-3", &outputsGrok, limits(131_072, 0))},
	{"grok", "", grok43.with("grok", &outputsGrok, limits(2_000_000, 0))},

	{"command-r7b", "", command.with("command-a", &outputsOther, limits(256_000, 0))},
	{"command-r", "", commandR.with("command-r", &outputsOther, limits(256_000, 0))},
	{"command-a-reasoning", "", commandReasoning.with("command-a-reasoning", &outputsOpen, limits(256_000, 0))},
	{"command-a-plus", "", commandPlus.with("command-a-plus", &outputsOther, limits(256_000, 0))},
	{"command-a", "", command.with("command-a", &outputsOther, limits(256_000, 0))},
	{"command", "", commandLegacy.with("command", &outputsOther, limits(256_000, 0))},

	{"deepseek-v4", "", deepseek4.with("deepseek-4", &outputsOpen, limits(1_048_576, 0))},
	{"r1-distill", "", llama3.with("llama-3", &outputsOpen, limits(131_072, 0))},
	{"deepseek", "", deepseek.with("deepseek", &outputsOpen, limits(1_048_576, 0))},
	{"llama3-8b", "", llamaPlain.with("llama-3.0", &outputsOther, limits(8_192, 0))},
	{"llama3-70b", "", llamaPlain.with("llama-3.0", &outputsOther, limits(8_192, 0))},
	{"llama-4", "", llama4.with("llama-4", &outputsOther, limits(10_485_760, 0))},
	{"llama4", "", llama4.with("llama-4", &outputsOther, limits(10_485_760, 0))},
	{"sonar", "", plainTemplate.with("sonar", &outputsOther, limits(200_000, 0))},
	{"llama", "", llama3.with("llama-3", &outputsOther, limits(10_485_760, 0))},
	{"glm", "", glm.with("glm", &outputsOpen, limits(1_048_576, 0))},
	{"nova-2", "", nova2.with("nova-2", &outputsOther, limits(1_000_000, 0))},
	{"nova", "", nova.with("nova", &outputsOther, limits(1_000_000, 0))},
	{"kimi", "", kimi.with("kimi", &outputsOther, limits(262_144, 0))},
	{"mistral", "", mistral.with("mistral", &outputsOther, limits(262_144, 0), images(mistralPatches, 0, 0))},
	{"ministral", "", mistral.with("mistral", &outputsOther, limits(262_144, 0), images(mistralPatches, 0, 0))},
	{"magistral", "", mistral.with("mistral", &outputsOther, limits(262_144, 0), images(mistralPatches, 0, 0))},
	{"codestral", "", mistral.with("mistral", &outputsOther, limits(262_144, 0))},
	{"devstral", "", mistral.with("mistral", &outputsOther, limits(262_144, 0))},
	{"pixtral", "", mistral.with("mistral", &outputsOther, limits(262_144, 0), images(mistralPatches, 0, 0))},
	{"mixtral", "", mistral.with("mistral", &outputsOther, limits(262_144, 0))},
	{"qwen", "", qwen.with("qwen", &outputsOpen, limits(1_048_576, 0))},
	{"titan", "", plainTemplate.with("titan", &outputsOther, limits(32_000, 0))},
}

var unknown = other.with("", &outputsOther)
