package metering

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"keel/filter/wire/openai"
	"keel/pricing/tokens"
)

// chat is a body of about 30 KB: the history of a conversation, as an agent sends
// it again with every request, and one message more.
func chat(turn int) []byte {
	var b strings.Builder
	b.WriteString(`{"model":"gpt-4o","stream":true,"max_completion_tokens":2048,"messages":[`)
	for i := range 40 {
		fmt.Fprintf(&b, `{"role":"user","content":"Turn %d. %s"},`, i, strings.Repeat("The quick brown fox said \\\"hi\\\" and left; nobody knows why. ", 12))
	}
	fmt.Fprintf(&b, `{"role":"user","content":"And now number %d?"}]}`, turn)
	return []byte(b.String())
}

// BenchmarkReadAndCount is what a request costs from its bytes to its estimated
// tokens, beside the strict JSON walk alone, in one run: compare the ratio.
func BenchmarkReadAndCount(b *testing.B) {
	bodies := make([][]byte, 64)
	for i := range bodies {
		bodies[i] = chat(i)
	}
	walk := func(d *jsontext.Decoder, body []byte) {
		d.Reset(bytes.NewBuffer(body), jsontext.AllowDuplicateNames(false), jsontext.AllowInvalidUTF8(false))
		for {
			if _, err := d.ReadToken(); err == io.EOF {
				return
			} else if err != nil {
				b.Fatal(err)
			}
		}
	}
	estimator := tokens.New()
	read := func(body []byte) {
		r, err := openai.Chat{}.ReadRequest("/v1/chat/completions", body)
		if err != nil {
			b.Fatal(err)
		}
		if estimator.Input("openai", r.Model, &r.Prompt).Expected == 0 {
			b.Fatal("nothing counted")
		}
	}
	d := jsontext.NewDecoder(new(bytes.Buffer))
	for _, body := range bodies {
		read(body) // the history is known from here on
	}
	b.SetBytes(int64(len(bodies[0])))
	b.ReportAllocs()
	var walked, counted time.Duration
	for i := 0; b.Loop(); i++ {
		body := bodies[i/2%len(bodies)]
		start := time.Now()
		if i%2 == 0 {
			walk(d, body)
			walked += time.Since(start)
		} else {
			read(body)
			counted += time.Since(start)
		}
	}
	b.ReportMetric(float64(counted)/float64(walked), "times-the-walk")
	b.ReportMetric(float64(counted.Nanoseconds())*2/float64(b.N), "ns/read-and-count")
}
