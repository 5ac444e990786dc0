package tokens

// The figures of OpenAI follow from what OpenAI publishes of its chat format
// (cookbook, how to count tokens: 3 a message, its role, 3 that prime the answer) and of
// Harmony's rendering of tools; what tools cost around that text, and all other
// figures that no maker publishes, are measured on recorded traffic: go test ./pricing/tokens -run Accuracy -fit -v
// prints what a fit to all of it would make of them, beside the loss before and after. What a fit gains by an odd figure is not taken over.
var (
	// Framing: 3+1+3 around one message. The namespace around tools is 9 with its text, and 4 of them
	// are a system message's that is there anyway.
	gpt = &figures{
		text: 1000, call: 1000, result: 1000, rendered: 950, schema: 860, hidden: 0,
		prompt: 7, message: 4, system: 4, calls: 6, tools: 17, flatTools: 10, joined: 4, forced: 0, withSchema: 5,
		margin: 100, slack: 40, toolSlack: 90, hiddenBytes: 250,
	}
	// gpt-4o has had a preamble of some 200 to tools in the first months of Responses.
	gpt4o = gpt.changed(func(f *figures) { f.flatSlack = 240 })
	// The same in the vocabulary before gpt-4o.
	gpt4 = &figures{
		vocabulary: cl100k,
		text:       1000, call: 1000, result: 1000, rendered: 900, schema: 940,
		prompt: 7, message: 4, system: 4, calls: 7, tools: 20, flatTools: 20, joined: 4, withSchema: 5,
		margin: 100, slack: 40, toolSlack: 120, hiddenBytes: 250,
	}
	// Models that reason: one less at the end, and more around tools in chat completions. Reasoning
	// items that come back with a call count some; alone they do not.
	gptReasoning = &figures{
		text: 1000, call: 1000, result: 1200, rendered: 900, schema: 780, hidden: 60,
		prompt: 6, message: 4, system: 4, calls: 14, tools: 100, flatTools: 18, withSchema: 5,
		margin: 100, slack: 60, toolSlack: 140, hiddenBytes: 250,
	}
	// The o series reasons and has no such preamble.
	oSeries = gptReasoning.changed(func(f *figures) { f.tools = 20 })
	// Text completions have no template: recorded ones are exact.
	completion = &figures{vocabulary: cl100k, text: 1000, margin: 250, slack: 16}
	// The models before have vocabularies of their own, of about the same size.
	legacy = &figures{vocabulary: cl100k, text: 1000, margin: 500, slack: 32, fewTexts: true, fewTools: true}

	gptOSS = &figures{
		text: 1000, call: 1200, result: 1000, compact: 1000, schema: 1000,
		prompt: 67, message: 4, system: 12, calls: 8, tools: 10, flatTools: 10, withSchema: 60,
		forced: 16, margin: 250, slack: 120, toolSlack: 200, schemaMargin: 500, hiddenBytes: 250,
	}

	// Anthropic publishes what its prompt for tools is (platform.claude.com, tool use with Claude: for auto and
	// none, and what any and tool have more); everything else is measured, and has not changed
	// from Claude 3 to 4.6.
	claude = &figures{
		vocabulary: cl100k,
		text:       1080, call: 1080, result: 950, compact: 1440, schema: 1500,
		common: 40, prompt: 7, message: 3, calls: 50, tool: 5, withSchema: 110, thinking: 29, citation: 600,
		margin: 120, slack: 48, toolSlack: 60, schemaMargin: 500, textBytes: 315, hiddenBytes: 250,
	}
	claude3Opus   = claude.prompting(530, 0)
	claude3Sonnet = claude.prompting(159, 76)
	claude3Haiku  = claude.prompting(264, 76)
	claude35      = claude.prompting(294, 0) // of June 2024; since October like Claude 4
	claude35Haiku = claude.prompting(264, 91)
	claude4       = claude.prompting(313, 2)
	claude45      = claude.prompting(496, 92)
	claude46      = claude.prompting(497, 92)
	// Anthropic's tokenizer from opus-4-7 and generation 5 on: more tokens of the same text.
	claude5 = claude.changed(func(f *figures) {
		f.text, f.call, f.result, f.compact, f.schema, f.common, f.prompt = 1410, 1410, 1410, 1450, 2000, 0, 3
		f.tools, f.flatTools, f.forced = 354, 354, 120
		f.margin, f.slack, f.toolSlack, f.fewTools = 250, 60, 250, true
	})
	claude48 = claude5.prompting(290, 120)
	claude47 = claude5.prompting(675, 129)

	// Google counts by the texts in a request, each by itself, in the vocabulary that it publishes as Gemma 3's
	// (googleapis/python-genai, local_tokenizer.py); what stands around tools is measured.
	gemini2 = &figures{
		vocabulary: gemma3,
		text:       1000, call: 1000, result: 1000, rendered: 1000, tool: 2,
		margin: 100, slack: 32, toolSlack: 60, schemaMargin: 500, toolMargin: 800, hiddenBytes: 1000,
	}
	// Cloud counts as before; in Gemini's own API a turn is a token more, and tools have more around them.
	gemini25Vertex = gemini2.changed(func(f *figures) { f.hidden = 140 })
	gemini25       = gemini2.changed(func(f *figures) {
		f.prompt, f.message, f.system, f.tool, f.member, f.calls = 1, 1, 1, 18, 9, 18
	})
	gemini3       = gemini25.changed(func(f *figures) { f.member, f.hidden = 17, 140 })
	gemini3Vertex = gemini25Vertex.changed(func(f *figures) { f.schema, f.withSchema = 1000, 32 })

	grok43 = &figures{
		text: 1000, call: 1500, result: 1500, compact: 1600, schema: 1500, prompt: 192, message: 25, calls: 150,
		tools: 20, flatTools: 20, withSchema: 0, margin: 250, slack: 120, toolSlack: 200, schemaMargin: 500, hiddenBytes: 250,
	}
	grok4 = &figures{
		text: 1000, call: 1500, result: 1500, compact: 1000, schema: 1500, prompt: 156, message: 8, calls: 48,
		tools: 150, flatTools: 150, margin: 250, slack: 120, toolSlack: 200, schemaMargin: 500, hiddenBytes: 250,
		fewTexts: true,
	}
	grokCode = &figures{
		text: 1000, call: 1500, result: 1500, compact: 1000, schema: 1500, prompt: 204, message: 8, calls: 80,
		tools: 135, flatTools: 135, margin: 250, slack: 120, toolSlack: 200, schemaMargin: 500, hiddenBytes: 250,
		fewTexts: true,
	}
	grok3 = &figures{
		text: 1000, call: 1200, result: 1200, compact: 1500, schema: 1500, prompt: 10, message: 6, calls: 30,
		tools: 200, flatTools: 200, margin: 300, slack: 200, toolSlack: 250, schemaMargin: 500, hiddenBytes: 250,
	}
	grokAzure = &figures{
		text: 960, call: 1200, result: 1200, compact: 1000, schema: 1500, prompt: 8, message: 2, calls: 20,
		tools: 145, flatTools: 145, margin: 250, slack: 120, toolSlack: 200, schemaMargin: 500, hiddenBytes: 250,
	}

	command = &figures{
		text: 1000, call: 2000, result: 2000, compact: 1100, schema: 3000, prompt: 497, message: 8, calls: 40,
		tools: 890, flatTools: 890, rendered: 320, system: 32, margin: 150, slack: 120, toolSlack: 200, schemaMargin: 500, hiddenBytes: 250,
	}
	// The newest has a short one, and so had the first.
	commandPlus      = command.changed(func(f *figures) { f.prompt, f.fewTexts, f.fewTools = 26, true, true })
	commandLegacy    = command.changed(func(f *figures) { f.prompt, f.fewTools = 62, true })
	commandReasoning = &figures{
		text: 1000, call: 1200, result: 1200, compact: 1100, schema: 3000, prompt: 1386, message: 8, calls: 40,
		tools: 100, flatTools: 100, margin: 150, slack: 120, toolSlack: 900, schemaMargin: 500, hiddenBytes: 250,
		fewTexts: true, fewTools: true,
	}
	commandR = &figures{
		text: 1000, call: 1200, result: 1200, compact: 1100, schema: 3000, prompt: 66, message: 8, calls: 40,
		tools: 780, flatTools: 780, margin: 150, slack: 240, toolSlack: 700, schemaMargin: 500, hiddenBytes: 250,
		fewTexts: true, fewTools: true,
	}

	deepseek = &figures{
		text: 1030, call: 2000, result: 2000, compact: 1080, schema: 300, prompt: 3, message: 6, calls: 10,
		tools: 240, flatTools: 240, margin: 250, slack: 120, toolSlack: 200, schemaMargin: 500, hiddenBytes: 250,
	}
	deepseek4 = &figures{
		text: 1030, call: 2000, result: 1100, compact: 1000, schema: 300, prompt: 4, message: 4, calls: 55,
		tools: 240, flatTools: 240, thinking: 0, margin: 250, slack: 120, toolSlack: 200, schemaMargin: 500, hiddenBytes: 250,
		fewTools: true,
	}
	llama3 = &figures{
		text: 1000, call: 1100, result: 1100, compact: 1000, schema: 1000, prompt: 35, message: 5, calls: 15,
		tools: 150, flatTools: 150, margin: 250, slack: 120, toolSlack: 300, schemaMargin: 500, hiddenBytes: 250,
		fewTools: true,
	}
	llamaPlain = &figures{
		text: 1000, call: 1100, result: 1100, compact: 1000, schema: 1000, prompt: 10, message: 5, calls: 15,
		tools: 150, flatTools: 150, margin: 250, slack: 120, toolSlack: 300, hiddenBytes: 250,
		fewTexts: true, fewTools: true,
	}
	llama4 = &figures{
		text: 1000, call: 1100, result: 1100, compact: 200, schema: 1000, prompt: 10, message: 5, calls: 15,
		tools: 600, flatTools: 600, margin: 250, slack: 120, toolSlack: 200, schemaMargin: 500, hiddenBytes: 250,
		fewTexts: true,
	}
	glm = &figures{
		text: 950, call: 1100, result: 600, compact: 1120, schema: 80, prompt: 6, message: 3, calls: 20,
		tools: 112, flatTools: 112, thinking: 4, margin: 250, slack: 120, toolSlack: 200, schemaMargin: 500, hiddenBytes: 250,
	}
	nova = &figures{
		text: 1000, call: 680, result: 1000, compact: 900, prompt: 0, message: 12, calls: 20,
		tools: 365, flatTools: 365, forced: 50, margin: 250, slack: 120, toolSlack: 200, schemaMargin: 500, hiddenBytes: 250,
	}
	nova2 = &figures{
		text: 1000, call: 1000, result: 1000, compact: 1000, prompt: 46, message: 0, calls: 20,
		tools: 830, flatTools: 830, thinking: 48, margin: 250, slack: 120, toolSlack: 200, schemaMargin: 500, hiddenBytes: 250,
	}
	kimi = &figures{
		text: 1140, call: 1000, result: 1000, compact: 1040, prompt: 9, message: 3, calls: 22,
		tools: 20, flatTools: 14, margin: 250, slack: 120, toolSlack: 200, schemaMargin: 500, hiddenBytes: 250,
	}
	mistral = &figures{
		text: 1100, call: 1300, result: 1100, compact: 1440, prompt: 2, message: 3, calls: 6,
		tools: 10, flatTools: 10, thinking: 12, system: 8, margin: 250, slack: 120, toolSlack: 200, schemaMargin: 500, hiddenBytes: 250,
	}
	qwen = &figures{
		text: 1080, call: 1100, result: 1100, compact: 1300, prompt: 10, message: 5, calls: 15,
		tools: 120, flatTools: 120, margin: 250, slack: 120, toolSlack: 200, schemaMargin: 500, withSchema: 117, hiddenBytes: 250,
		fewTexts: true, fewTools: true,
	}
	plainTemplate = &figures{
		text: 1000, call: 1100, result: 1100, compact: 1000, schema: 0, prompt: 1, message: 1, calls: 10,
		tools: 100, flatTools: 100, margin: 250, slack: 120, toolSlack: 200, schemaMargin: 500, hiddenBytes: 250,
		fewTools: true,
	}
	other = &figures{
		text: 1030, call: 1100, result: 1100, compact: 1100, schema: 500, prompt: 10, message: 4, calls: 20,
		tools: 200, flatTools: 200, margin: 500, slack: 200, toolSlack: 1_000, schemaMargin: 500, hiddenBytes: 250,
	}
)

// prompting returns f with a published prompt for tools, and what a forced choice adds to it.
func (f *figures) prompting(tools, forced int64) *figures {
	return f.changed(func(f *figures) { f.tools, f.flatTools, f.forced = tools, tools, forced })
}

// changed returns a changed copy of f.
func (f *figures) changed(change func(*figures)) *figures {
	other := *f
	change(&other)
	return &other
}
