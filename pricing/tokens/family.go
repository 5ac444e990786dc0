package tokens

import "strings"

// family holds the figures of models that share a tokenizer and a chat template.
//
// Expected figures are medians over recorded traffic, bounds the largest
// overhead seen in it, about doubled. Milli figures are tokens per thousand bytes.
type family struct {
	name string // "" for models that are not known

	published bool // tokenizer and framing are published: text is bounded provably

	textMilli, toolMilli, schemaMilli int64
	fixed, message                    int64 // around the prompt, around each message
	tools, tool                       int64 // hidden tool prompt, around each tool
	image                             int64

	fixedBound, messageBound  int64
	toolsBound, toolBound     int64
	schemaBound, schemaFactor int64 // fixed, and tokens per byte
	imageBound                int64
	imageRule                 bool // the maker documents how images count

	window       int64 // most input tokens of any model in the family, 0 unknown
	maxOutput    int64 // documented most output tokens, 0 unknown
	noOutput     bool
	likelyOutput int64 // about the 90th percentile of what was recorded where no limit was stated
}

// bases are the figures by tokenizer and template; models refines them.
var (
	gpt = family{
		textMilli: 225, toolMilli: 180, schemaMilli: 230, fixed: 3, message: 4, tools: 8, tool: 4, image: 765,
		// Seen: -9 to 65 above the text, of which 18 a preamble of early Responses; tools up to 200.
		fixedBound: 160, messageBound: 16, toolsBound: 512, toolBound: 64, schemaBound: 256, schemaFactor: 2,
		likelyOutput: 350,
	}
	claude = family{
		textMilli: 275, toolMilli: 280, schemaMilli: 600, fixed: 6, message: 4, tools: 380, tool: 40, image: 1000,
		// Seen: 7 to 47; thinking 29, task budget 40; hidden tool prompt up to 420 and 50 a tool; a schema 2.5 times its tokens.
		fixedBound: 256, messageBound: 24, toolsBound: 1024, toolBound: 128, schemaBound: 512, schemaFactor: 3,
		likelyOutput: 260,
	}
	gemini = family{
		textMilli: 230, toolMilli: 150, schemaMilli: 3, fixed: 1, message: 0, tools: 2, tool: 2, image: 258,
		// Seen: -1 to 11; schemas are hardly counted, tools 0.6 of their JSON.
		fixedBound: 64, messageBound: 16, toolsBound: 256, toolBound: 64, schemaBound: 64, schemaFactor: 1,
		likelyOutput: 520,
	}
	other = family{
		textMilli: 240, toolMilli: 250, schemaMilli: 250, fixed: 10, message: 4, tools: 250, tool: 30, image: 1500,
		fixedBound: 512, messageBound: 32, toolsBound: 3000, toolBound: 256, schemaBound: 512, schemaFactor: 3,
		imageBound: noImages, likelyOutput: 420,
	}
)

// with returns f under a name, changed.
func (f family) with(name string, changes ...func(*family)) family {
	f.name = name
	for _, change := range changes {
		change(&f)
	}
	return f
}

// limits sets context window, most output tokens and most tokens of one image, as the
// maker's model pages state them; noImages where the page has no rule for images.
func limits(window, maxOutput, image int64) func(*family) {
	return func(f *family) {
		f.window, f.maxOutput, f.imageBound, f.imageRule = window, maxOutput, image, image != noImages
	}
}

// window sets the context window of a family whose other limits are not known.
func window(n int64) func(*family) { return func(f *family) { f.window = n } }

// hidden sets what the template adds around every prompt, around tools and around each tool.
func hidden(fixed, tools, tool int64) func(*family) {
	return func(f *family) { f.fixed, f.tools, f.tool = fixed, tools, tool }
}

// likelyImage sets the usual tokens of an image.
func likelyImage(n int64) func(*family) { return func(f *family) { f.image = n } }

func published(f *family) { f.published = true }

func noSchema(f *family) { f.schemaMilli = 0 }

// embedding models have no chat template, and no output. A request may hold 2048 texts of 8192 tokens.
func embedding(f *family) { f.fixed, f.message, f.noOutput, f.window = 0, 0, true, 2_048*8_192 }

// newTokenizer is Anthropic's from opus-4-7 and generation 5 on: more tokens of the same text.
func newTokenizer(f *family) { f.textMilli, f.toolMilli, f.fixed, f.image = 340, 340, 10, 1_500 }

// wideTemplate is a template with a long hidden prompt of its own.
func wideTemplate(f *family) { f.fixedBound = 3_000 }

// rule says which family a model name belongs to: the first whose word is in it.
type rule struct {
	word string
	family
}

// models is ordered: narrower words first. Limits are those of the makers' model pages
// (platform.openai.com/docs/models, docs.claude.com models overview,
// ai.google.dev/gemini-api/docs/models); where one word means several models, the widest.
var models = []rule{
	{"gpt-oss", other.with("gpt-oss", hidden(67, 33, 10), limits(131_072, 131_072, noImages))},
	{"gpt-4o-mini", gpt.with("gpt-4o-mini", limits(128_000, 16_384, 2_833+5_667*maxTiles), likelyImage(14_178), published)},
	{"gpt-4o", gpt.with("gpt-4o", limits(128_000, 16_384, 85+170*maxTiles), published)},
	{"chatgpt-4o", gpt.with("chatgpt-4o", limits(128_000, 16_384, 85+170*maxTiles))},
	{"gpt-4.1-mini", gpt.with("gpt-4.1-mini", limits(1_047_576, 32_768, patchBound), likelyImage(500), published)},
	{"gpt-4.1-nano", gpt.with("gpt-4.1-nano", limits(1_047_576, 32_768, patchBound), likelyImage(500), published)},
	{"gpt-4.1", gpt.with("gpt-4.1", limits(1_047_576, 32_768, 85+170*maxTiles), published)},
	{"gpt-4.5", gpt.with("gpt-4.5", limits(128_000, 16_384, 85+170*maxTiles))},
	{"gpt-4-32k", gpt.with("gpt-4-32k", limits(32_768, 32_768, noImages), published)},
	{"gpt-4-turbo", gpt.with("gpt-4-turbo", limits(128_000, 4_096, 85+170*maxTiles), published)},
	{"gpt-4-1106", gpt.with("gpt-4-turbo", limits(128_000, 4_096, 85+170*maxTiles), published)},
	{"gpt-4-0125", gpt.with("gpt-4-turbo", limits(128_000, 4_096, 85+170*maxTiles), published)},
	{"gpt-4-vision", gpt.with("gpt-4-turbo", limits(128_000, 4_096, 85+170*maxTiles))},
	{"gpt-4", gpt.with("gpt-4", limits(8_192, 8_192, noImages), published)},
	{"gpt-3.5", gpt.with("gpt-3.5", limits(16_385, 4_096, noImages), published)},
	{"gpt-35", gpt.with("gpt-3.5", limits(16_385, 4_096, noImages), published)}, // as Azure deployments spell it
	{"gpt-5-pro", gpt.with("gpt-5-pro", limits(400_000, 272_000, wideImageBound), likelyImage(350))},
	{"gpt-5", gpt.with("gpt-5", limits(1_050_000, 128_000, wideImageBound), likelyImage(350))},
	{"o1-mini", gpt.with("o1-mini", limits(128_000, 65_536, noImages))},
	{"o1-preview", gpt.with("o1-preview", limits(128_000, 32_768, noImages))},
	{"o1", gpt.with("o-series", limits(200_000, 100_000, patchBound), likelyImage(400))},
	{"o3", gpt.with("o-series", limits(200_000, 100_000, patchBound), likelyImage(400))},
	{"o4-mini", gpt.with("o-series", limits(200_000, 100_000, patchBound), likelyImage(400))},
	{"text-embedding", gpt.with("embedding", published, embedding)},

	{"claude-instant", claude.with("claude-2", limits(100_000, 4_096, noImages))},
	{"claude-2", claude.with("claude-2", limits(200_000, 4_096, noImages))},
	{"claude-3-5", claude.with("claude-3.5", limits(200_000, 8_192, claudeImage))},
	{"claude-3.5", claude.with("claude-3.5", limits(200_000, 8_192, claudeImage))},
	{"claude-3-7", claude.with("claude-3.7", limits(200_000, 128_000, claudeImage))}, // 64 000 without the output-128k beta
	{"claude-3.7", claude.with("claude-3.7", limits(200_000, 128_000, claudeImage))},
	{"claude-3-", claude.with("claude-3", limits(200_000, 4_096, claudeImage))},
	{"opus-4-2025", claude.with("claude-opus-4", limits(200_000, 32_000, claudeImage))},
	{"opus-4-0", claude.with("claude-opus-4", limits(200_000, 32_000, claudeImage))},
	{"opus-4-1", claude.with("claude-opus-4", limits(200_000, 32_000, claudeImage))},
	{"opus-4-5", claude.with("claude-opus-4.5", limits(200_000, 64_000, claudeImage))},
	{"opus-4-6", claude.with("claude-4.6", limits(1_000_000, 128_000, claudeImage))},
	{"sonnet-4-6", claude.with("claude-4.6", limits(1_000_000, 128_000, claudeImage))},
	{"sonnet-4", claude.with("claude-sonnet-4", limits(1_000_000, 64_000, claudeImage))}, // a million by beta header
	{"haiku-4", claude.with("claude-haiku-4", limits(200_000, 64_000, claudeImage))},
	{"claude", claude.with("claude-new", limits(1_000_000, 128_000, claudeWideImage), newTokenizer)},

	{"gemini-1", gemini.with("gemini-1", limits(2_097_152, 8_192, geminiImage))},
	{"gemini-2.0", gemini.with("gemini-2.0", limits(1_048_576, 8_192, geminiImage))},
	{"gemini", gemini.with("gemini", limits(1_048_576, 65_536, geminiImage))}, // 2.5 on

	{"grok", other.with("grok", hidden(192, 50, 30), window(2_000_000))},
	{"command", other.with("command", hidden(498, 930, 30), wideTemplate, window(256_000))},
	{"deepseek", other.with("deepseek", hidden(4, 280, 30), window(1_048_576))},
	{"llama", other.with("llama", hidden(10, 500, 30), window(10_485_760))},
	{"glm", other.with("glm", hidden(6, 138, 30), window(1_048_576))},
	{"nova", other.with("nova", hidden(1, 443, 50), noSchema, window(1_000_000))},
	{"mistral", mistral},
	{"ministral", mistral},
	{"magistral", mistral},
	{"codestral", mistral},
	{"devstral", mistral},
	{"pixtral", mistral},
	{"mixtral", mistral},
}

var mistral = other.with("mistral", hidden(13, 32, 10), noSchema, window(262_144))

// Most tokens of one inline image, whatever its size.
const (
	// OpenAI, tiles: fitted into 2048×2048, then to a short side of 768, cut into
	// 512×512: 4×2 tiles at most. A base and a price per tile by model:
	// gpt-4o 85+170, gpt-4o-mini 2833+5667 (both measured), gpt-5 70+140, o1 and o3 75+150.
	maxTiles = 8
	// OpenAI, patches of 32×32: at most 1536, times up to 2.46 (gpt-4.1-nano; mini
	// 1.62, o4-mini 1.72, gpt-5-mini 1.2 measured, gpt-5-nano 1.5 measured).
	patchBound = 3_779
	// OpenAI from gpt-5.4: detail "original" allows 10 000 patches; times 2.46.
	wideImageBound = 24_600
	// Anthropic: width×height/750 after fitting into 1568 pixels and about 1.15 megapixels:
	// about 1600. Later models take 2576 pixels: up to 4784.
	claudeImage     = 2_000
	claudeWideImage = 6_000
	// Google: 258 a tile of 768×768 in 2.x, up to 2240 at ultra-high resolution in 3; 16 tiles.
	geminiImage = 258 * 16
	// A number, not a bound, for an image where nobody says how it counts.
	noImages = 16_384
)

var unknown = other

// familyOf finds the family of a model as requests, gateways and clouds name it.
func familyOf(model string) *family {
	model = strings.ToLower(model)
	for i := range models {
		if wordIn(model, models[i].word) {
			return &models[i].family
		}
	}
	return &unknown
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
