package apis

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"unsafe"
)

// TestRemembered asks for more request lines and hosts than are remembered, from several goroutines, and has the formats and the
// list of hosts say what is right.
func TestRemembered(t *testing.T) {
	t.Parallel()
	paths := []string{
		"/v1/chat/completions", "/v1/responses", "/v1/responses/resp_%d", "/v1/messages?%d", "/v1beta/models/gemini-%d:generateContent", "/model/m%d/converse",
		"/v2/chat", "/v1/chat", "/api/chat", "/v1/files/%d", "/v1/embeddings?x=%d", "/v1/" + strings.Repeat("x", 200) + "%d/chat/completions",
	}
	var wait sync.WaitGroup
	for worker := range 4 {
		wait.Go(func() {
			r := rand.New(rand.NewPCG(uint64(worker), 3))
			for range 10_000 {
				k := key{[]string{"", "openai", "cohere", "writer", "bedrock", "ollama", "google"}[r.IntN(7)], []string{"POST", "GET"}[r.IntN(2)], paths[r.IntN(len(paths))]}
				if strings.Contains(k.path, "%d") {
					k.path = fmt.Sprintf(k.path, r.IntN(40))
				}
				got, ok := Match(k.provider, k.method, k.path)
				if want, there := findCodec(k); got != want || ok != there {
					t.Errorf("%v is %v, want %v", k, got, want)
					return
				}
				host := hosts[r.IntN(len(hosts))].name + []string{"", ":443", ".test"}[r.IntN(3)]
				if strings.HasPrefix(host, ".") {
					host = fmt.Sprint("h", r.IntN(9)) + host
				}
				if got, want := ProviderOf(host), providerOf(host); got != want {
					t.Errorf("%s is %s's, want %s", host, got, want)
					return
				}
			}
		})
	}
	wait.Wait()
	kept := 0
	for i := range codecs {
		if e := codecs[i].Load(); e != nil {
			kept++
			if len(e.key.path) > maxRemembered || e.value == nil {
				t.Errorf("%v is kept with %v", e.key, e.value)
			}
		}
	}
	if kept < len(codecs)/2 {
		t.Errorf("%d of %d places are taken", kept, len(codecs))
	}
}

// A place that another has taken says nothing.
func TestRememberedOfAnother(t *testing.T) {
	t.Parallel()
	k := key{"cohere", "POST", "/v1/chat"}
	want, _ := findCodec(k)
	for _, other := range []key{{"writer", "POST", "/v1/chat"}, {"cohere", "GET", "/v1/chat"}, {"cohere", "POST", "/v2/rerank"}} {
		var taken table[string]
		for i := range taken {
			taken[i].Store(&entry[string]{other, "other"})
		}
		if got, _ := taken.get(k, func(key) (string, bool) { return string(want.API()), true }); got != string(want.API()) {
			t.Errorf("%v is what %v was", k, other)
		}
	}
}

// The names of a message are gone with its memory.
func TestRememberedOutlivesItsMessage(t *testing.T) {
	t.Parallel()
	var kept table[int]
	message := []byte("providerPOST/v1/chat")
	text := unsafe.String(&message[0], len(message))
	k := key{text[:8], text[8:12], text[12:]}
	kept.get(k, func(key) (int, bool) { return 1, true })
	clear(message)
	if n, _ := kept.get(key{"provider", "POST", "/v1/chat"}, func(key) (int, bool) { return 2, true }); n != 1 {
		t.Error("what was remembered went with the message")
	}
}
