package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
)

// prose is what requests are written with: phrases of the pages of this project's
// documentation, as JSON has them in a string.
type prose [][]byte

// phraseWords is how many words stay together. A request is a new order of phrases.
const phraseWords = 8

// readProse reads the pages below root/docs, but not the one that this program writes.
func readProse(root string) (prose, error) {
	pages, err := filepath.Glob(filepath.Join(root, "docs", "*.md"))
	if err != nil {
		return nil, err
	}
	var p prose
	for _, page := range pages {
		if filepath.Base(page) == reportName {
			continue
		}
		text, err := os.ReadFile(page)
		if err != nil {
			return nil, err
		}
		words := strings.Fields(string(text))
		for len(words) >= phraseWords {
			quoted, err := json.Marshal(strings.Join(words[:phraseWords], " ") + " ")
			if err != nil {
				return nil, err
			}
			p = append(p, quoted[1:len(quoted)-1])
			words = words[phraseWords:]
		}
	}
	if len(p) < 1000 {
		return nil, errors.New("docs/*.md have too little text to write requests with")
	}
	return p, nil
}

// append adds phrases in random order until size bytes were added, or a phrase more.
func (p prose) append(to []byte, size int) []byte {
	for end := len(to) + size; len(to) < end; {
		to = append(to, p[rand.IntN(len(p))]...)
	}
	return to
}

// model is what every request asks for.
const model = "gpt-5-mini"

// bodies makes the request bodies of a cell. It is safe for concurrent use.
type bodies struct {
	prose    prose
	messages []int // bytes of text in each
	shared   []byte
	fixed    int // so many messages are in shared
	after    []byte
}

// newBodies makes bodies of about c.Bytes: messages of a conversation, the first
// of the system and the last of the user. With c.Tail all but the last message
// are the same in all bodies, else no message is in two bodies.
func newBodies(p prose, c cell) *bodies {
	const most, least = 4 << 10, 400 // bytes of a message
	count := max(2, c.Bytes/most)
	size := max(least, c.Bytes/count)
	b := &bodies{prose: p, after: []byte(`]}`)}
	for range count {
		b.messages = append(b.messages, size)
	}
	head := `{"model":"` + model + `","max_completion_tokens":200,`
	if c.SSE {
		head += `"stream":true,"stream_options":{"include_usage":true},`
	}
	b.shared = []byte(head + `"messages":[`)
	if c.Tail {
		b.messages[count-1] = least
		for i := range count - 1 {
			b.shared = b.message(b.shared, i)
		}
		b.fixed = count - 1
	}
	return b
}

// append adds a body that nobody has seen.
func (b *bodies) append(to []byte) []byte {
	to = append(to, b.shared...)
	for i := b.fixed; i < len(b.messages); i++ {
		to = b.message(to, i)
	}
	return append(to, b.after...)
}

func (b *bodies) message(to []byte, i int) []byte {
	role := "system"
	switch {
	case i == len(b.messages)-1 || i%2 == 1:
		role = "user"
	case i > 0:
		role = "assistant"
	}
	if i > 0 {
		to = append(to, ',')
	}
	to = append(to, `{"role":"`...)
	to = append(to, role...)
	to = append(to, `","content":"`...)
	to = fmt.Appendf(to, "%016x ", rand.Uint64()) // whatever the order of phrases is
	to = b.prose.append(to, b.messages[i])
	return append(to, `"}`...)
}

// request is a whole HTTP/1.1 request.
func (b *bodies) request(to []byte, head string) []byte {
	body := b.append(nil)
	to = append(to, head...)
	to = fmt.Appendf(to, "content-length: %d\r\n\r\n", len(body))
	return append(to, body...)
}

// requestHead is all headers of a call but its length. Keel overwrites the target; an
// Envoy without Keel routes by it.
func requestHead(more string) string {
	lines := []string{
		"POST /v1/chat/completions HTTP/1.1", "host: bench.test", "content-type: application/json", "accept: */*",
		"user-agent: keel-bench", "x-keel-team: research", "x-keel-user: ada", "x-keel-app: ide", "x-keel-target: openai/" + model,
	}
	if !strings.Contains(strings.ToLower(more), "authorization:") {
		lines = append(lines, "authorization: Bearer sk-bench-0123456789abcdef")
	}
	var out bytes.Buffer
	for _, l := range lines {
		out.WriteString(l + "\r\n")
	}
	return out.String() + more
}
