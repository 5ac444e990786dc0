package sample

import (
	"fmt"
	"strings"
)

// gemini is :generateContent and :streamGenerateContent. A stream carries
// cumulative usageMetadata in every chunk, has no end marker, and without
// alt=sse is one JSON array.
// Shape: https://ai.google.dev/api/generate-content#generatecontentresponse.
func (d draft) gemini() reply {
	finish, u := "STOP", d.usage
	if d.cutShort {
		finish = "MAX_TOKENS"
	}
	chunk := func(text string, last bool, output int64) string {
		var candidates []string
		for i := range d.choices {
			finishMember := ""
			if last {
				finishMember = fmt.Sprintf(`,"finishReason":%q`, finish)
			}
			candidates = append(candidates, fmt.Sprintf(`{"content":{"parts":[{"text":%s}],"role":"model"}%s,"index":%d}`, quote(text), finishMember, i))
		}
		usage := ""
		if !d.omitUsage {
			cached, out := "", ""
			if u.CachedTokens > 0 {
				cached = fmt.Sprintf(`,"cachedContentTokenCount":%d,"cacheTokensDetails":[{"modality":"TEXT","tokenCount":%d}]`, u.CachedTokens, u.CachedTokens)
			}
			if output > 0 {
				out = fmt.Sprintf(`,"candidatesTokenCount":%d`, output)
			}
			usage = fmt.Sprintf(`"usageMetadata":{"promptTokenCount":%d%s,"totalTokenCount":%d%s,"promptTokensDetails":[{"modality":"TEXT","tokenCount":%d}]},`,
				u.InputTokens, out, u.InputTokens+output, cached, u.InputTokens)
		}
		return fmt.Sprintf(`{"candidates":[%s],%s"modelVersion":%s,"responseId":%q}`,
			strings.Join(candidates, ","), usage, quote(d.model), d.ident("sample-"))
	}
	if !d.stream {
		return whole(chunk(d.text(), true, u.OutputTokens))
	}
	words := d.words
	if len(words) == 0 {
		words = []string{""}
	}
	var chunks []string
	for i, word := range words {
		last := i == len(words)-1
		output := int64(i+1) * d.choices
		if last {
			output = u.OutputTokens
		}
		chunks = append(chunks, chunk(word, last, output))
	}
	if d.sse {
		e := make([][]byte, 0, len(chunks))
		for _, c := range chunks {
			e = append(e, []byte("data: "+c+"\r\n\r\n")) // Google ends lines with CRLF
		}
		return reply{contentType: "text/event-stream", chunks: e}
	}
	var array [][]byte
	for i, c := range chunks {
		lead, tail := ",\r\n", ""
		if i == 0 {
			lead = "["
		}
		if i == len(chunks)-1 {
			tail = "]\n"
		}
		array = append(array, []byte(lead+c+tail))
	}
	return reply{contentType: "application/json; charset=UTF-8", chunks: array}
}
