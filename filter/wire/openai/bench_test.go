package openai

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/go-json-experiment/json/jsontext"

	"keel/filter/wire"
)

// conversation is a chat body of about 30 KB: tools and 40 messages.
func conversation() []byte {
	var b strings.Builder
	b.WriteString(`{"model":"gpt-5","stream":true,"max_completion_tokens":2048,"tools":[`)
	for i := range 8 {
		if i > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, `{"type":"function","function":{"name":"tool_%d","description":"Looks something up.","parameters":{"type":"object","properties":{"query":{"type":"string"},"limit":{"type":"integer"}},"required":["query"]}}}`, i)
	}
	b.WriteString(`],"messages":[`)
	for i := range 40 {
		if i > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, `{"role":"user","content":[{"type":"text","text":"%s"}]}`, strings.Repeat(`The quick brown fox said \"hi\" and left.\n`, 15))
	}
	b.WriteString(`]}`)
	return []byte(b.String())
}

func BenchmarkReadRequest(b *testing.B) {
	body := conversation()
	b.Run("walk alone", func(b *testing.B) {
		b.SetBytes(int64(len(body)))
		b.ReportAllocs()
		d := jsontext.NewDecoder(new(bytes.Buffer))
		for b.Loop() {
			d.Reset(bytes.NewBuffer(body))
			if err := d.SkipValue(); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("read", func(b *testing.B) {
		b.SetBytes(int64(len(body)))
		b.ReportAllocs()
		for b.Loop() {
			if _, err := (Chat{}).ReadRequest(chatPath, body); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("rewrite", func(b *testing.B) {
		b.SetBytes(int64(len(body)))
		b.ReportAllocs()
		r, err := Chat{}.ReadRequest(chatPath, body)
		if err != nil {
			b.Fatal(err)
		}
		for b.Loop() {
			Chat{}.Rewrite(r, chatPath, body, wire.Edit{Model: "gpt-5-mini", MaxOutputTokens: 100, ForceUsage: true})
		}
	})
}

const delta = `data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":1,"model":"gpt-5","service_tier":"default","choices":[{"index":0,"delta":{"content":" hello"},"finish_reason":null}],"usage":null,"obfuscation":"abcdef"}` + "\n\n"

func BenchmarkReader(b *testing.B) {
	reader := Chat{}.NewReader(&wire.Request{Stream: true, Choices: 1, UsageForced: true}, 200, eventStream)
	chunk := []byte(delta)
	b.SetBytes(int64(len(chunk)))
	b.ReportAllocs()
	for b.Loop() {
		reader.Feed(chunk, false)
	}
}
