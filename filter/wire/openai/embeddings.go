package openai

import (
	"keel/filter/wire"
	"keel/filter/wire/walk"
	"keel/pricing/tokens"
)

// embeddings is the codec of embeddings, as OpenAI and, with several kinds of
// input, Voyage and OpenRouter speak it.
var embeddings = &format{
	api: wire.OpenAIEmbeddings, task: tokens.Embed,
	member: func(r *request, c *walk.Cursor, key []byte) error {
		switch string(key) {
		case "input", "inputs":
			return inputs(c, &r.Prompt)
		}
		return nil
	},
	dialect: func(*wire.Request) dialect { return &inputReading{} },
}

// embeddingsWatsonx and rerankWatsonx are the same at watsonx.ai (its API reference, Text
// embeddings and Text rerank).
var (
	embeddingsWatsonx = &format{
		api: wire.OpenAIEmbeddings, task: tokens.Embed, modelKey: "model_id",
		member: embeddings.member, dialect: embeddings.dialect,
	}
	rerankWatsonx = &format{
		api: wire.OpenAIEmbeddings, task: tokens.Rerank, modelKey: "model_id",
		member: func(r *request, c *walk.Cursor, key []byte) error {
			switch string(key) {
			case "query", "inputs":
				return inputs(c, &r.Prompt)
			}
			return nil
		},
		dialect: embeddings.dialect,
	}
)

// rerank is the codec of ranking documents as Voyage, OpenRouter and vLLM
// speak it: its answers are those of embeddings.
var rerank = &format{
	api: wire.OpenAIEmbeddings, task: tokens.Rerank,
	member: func(r *request, c *walk.Cursor, key []byte) error {
		switch string(key) {
		case "query", "documents":
			return inputs(c, &r.Prompt)
		}
		return nil
	},
	dialect: func(*wire.Request) dialect { return &inputReading{} },
}

// moderations is the codec of verdicts on text and images. OpenAI's cost
// nothing and tell no usage; Mistral's do both.
var moderations = &format{
	api: wire.OpenAIModerations, task: tokens.Moderate, nameless: true,
	member: func(r *request, c *walk.Cursor, key []byte) error {
		if string(key) == "input" {
			return inputs(c, &r.Prompt)
		}
		return nil
	},
	dialect: func(*wire.Request) dialect { return &inputReading{} },
}
