// Package wiretest holds codecs against exchanges, recorded or made up: what every
// package below filter/wire has to do, whatever its API.
//
// It knows no API. What a usage has to be is for the tests of a package to say.
package wiretest

import (
	"bytes"
	"math/rand/v2"
	"net/http"
	"reflect"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"keel/filter/wire"
	"keel/filter/wire/recording"
	"keel/pricing/tokens"
)

// PromptOptions compare prompts by what a request says.
var PromptOptions = cmp.Options{cmpopts.IgnoreUnexported(tokens.Prompt{}), cmpopts.EquateEmpty()}

// Match is the function that every package has.
type Match func(provider, method, path string) (wire.Codec, bool)

// A Response is what a reader is fed.
type Response struct {
	Status int
	Header http.Header
	Body   []byte
	Open   bool // the body does not end: the connection stays or breaks
}

// Read feeds a response to a new reader, whole for seed 0, otherwise cut at
// random, and returns its reading. Nothing may be hidden on the way.
func Read(t testing.TB, codec wire.Codec, r *wire.Request, response Response, seed uint64) wire.Reading {
	t.Helper()
	reader := codec.NewReader(r, response.Status, response.Header)
	random := rand.New(rand.NewPCG(seed, 1))
	known := false
	for rest := response.Body; len(rest) > 0; {
		n := len(rest)
		if seed > 0 {
			n = min(n, 1+random.IntN(1+random.IntN(2000)))
		}
		chunk := bytes.Clone(rest[:n]) // so that what a reader keeps of it is seen to change
		if got := reader.Feed(chunk, false); !bytes.Equal(got, rest[:n]) {
			t.Fatalf("forwarded %q for %q", got, rest[:n])
		}
		clear(chunk)
		rest = rest[n:]
		now := reader.Reading().Usage != nil
		if known && !now {
			t.Fatalf("a usage that was read is lost in %.200q", response.Body)
		}
		known = now
	}
	if !response.Open {
		reader.Feed(nil, true)
	}
	return reader.Reading()
}

// Exchange reads a recorded exchange and checks what holds for all: the
// request is read and rewritten, however the response is cut its reading is the same, and
// cut short it is never taken for whole. It returns what was read, and false
// after a failure.
func Exchange(t testing.TB, match Match, x *recording.Exchange) (r *wire.Request, whole wire.Reading, ok bool) {
	t.Helper()
	codec, ok := match(x.Provider, x.Method, x.Path)
	if !ok {
		t.Errorf("%s: %s %s of %s is not matched", x.ID, x.Method, x.Path, x.Provider)
		return nil, whole, false
	}
	request, err := x.Request()
	if err != nil {
		t.Fatal(err)
	}
	body, err := x.Response()
	if err != nil {
		t.Fatal(err)
	}
	r, err = codec.ReadRequest(x.Path, request)
	if err != nil {
		if x.Status < 400 {
			t.Errorf("%s: the provider took a request that Keel refuses: %v", x.ID, err)
		}
		return nil, whole, false
	}
	Rewrite(t, codec, x.Path, request)
	response := Response{Status: x.Status, Header: recording.Header(x.ResponseHeaders), Body: body}
	whole = Read(t, codec, r, response, 0)
	for seed := range uint64(3) {
		if diff := cmp.Diff(whole, Read(t, codec, r, response, seed+1)); diff != "" {
			t.Errorf("%s: chunked otherwise it reads otherwise: %s", x.ID, diff)
		}
	}
	if x.Status >= 400 {
		if whole.Usage != nil || whole.Failure == "" {
			t.Errorf("%s: status %d reads as %+v", x.ID, x.Status, whole)
		}
		return r, whole, true
	}
	if !whole.Terminal || whole.Failure != "" {
		t.Errorf("%s: a whole response reads as %+v", x.ID, whole)
	}
	Truncated(t, codec, r, response, whole)
	return r, whole, true
}

// Truncated cuts a response anywhere before its last byte that is not space.
func Truncated(t testing.TB, codec wire.Codec, r *wire.Request, response Response, whole wire.Reading) {
	t.Helper()
	body := bytes.TrimRight(response.Body, " \r\n")
	random := rand.New(rand.NewPCG(uint64(len(body)), 2))
	for i := range 8 {
		cut := response
		cut.Body, cut.Open = body[:random.IntN(len(body))], i%2 == 0
		if i == 0 {
			cut.Body = body[:len(body)-1]
		}
		got := Read(t, codec, r, cut, 1)
		if got.Terminal {
			t.Errorf("cut at %d of %d it reads as whole: %.200s", len(cut.Body), len(body), body)
		}
	}
	end := told(body, whole.RawUsage)
	if end < 0 {
		return
	}
	cut := response
	cut.Body, cut.Open = body[:end], true
	if got := Read(t, codec, r, cut, 1); !reflect.DeepEqual(got.Usage, whole.Usage) {
		t.Errorf("cut at %d of %d the usage that was told, %v, reads as %v: %.200s", end, len(body), whole.Usage, got.Usage, body)
	}
}

// told is where the event or line ends that has raw in it as it stands, -1
// where a body is neither or has not got it.
func told(body, raw []byte) int {
	at := bytes.LastIndex(body, raw)
	if len(raw) == 0 || at < 0 {
		return -1
	}
	ends := []string{"\n\n", "\r\n\r\n"}
	if body[0] == '{' && bytes.Contains(body, []byte("\n{")) {
		ends = []string{"\n"}
	} else if body[0] == '{' || body[0] == '[' {
		return -1
	}
	for _, end := range ends {
		if i := bytes.Index(body[at:], []byte(end)); i >= 0 {
			return at + i + len(end)
		}
	}
	return -1
}

// Rewrite changes a request and reads it again: an empty edit changes nothing, any other
// only what it says.
func Rewrite(t testing.TB, codec wire.Codec, path string, body []byte) {
	t.Helper()
	read := func(path string, body []byte) *wire.Request {
		r, err := codec.ReadRequest(path, body)
		if err != nil {
			t.Fatalf("%s %s: %v", path, body, err)
		}
		return r
	}
	r := read(path, body)
	if newPath, got := codec.Rewrite(r, path, body, wire.Edit{ForceUsage: true}); newPath != path || !bytes.Equal(got, body) {
		t.Fatalf("an empty edit made %s %s of %s %s", newPath, got, path, body)
	}
	edit := wire.Edit{Model: "another-model", MaxOutputTokens: 7}
	newPath, got := codec.Rewrite(r, path, body, edit)
	again := read(newPath, got)
	if again.Model != edit.Model && r.Model != "" && again.Model != r.Model {
		t.Fatalf("renamed to %s in %s %s", again.Model, newPath, got)
	}
	if r.Prompt.Task == tokens.Generate && again.MaxOutputTokens > edit.MaxOutputTokens { // others write nothing
		t.Fatalf("limited to %d in %s", again.MaxOutputTokens, got)
	}
	again.Prompt.Task = r.Prompt.Task // which some APIs tell by the model alone
	if diff := cmp.Diff(r.Prompt, again.Prompt, PromptOptions); diff != "" {
		t.Fatalf("the prompt changed: %s", diff)
	}
	again.Model, again.MaxOutputTokens, again.Marks, again.Prompt = r.Model, r.MaxOutputTokens, r.Marks, r.Prompt
	if !reflect.DeepEqual(r, again) {
		t.Fatalf("%+v became %+v", r, again)
	}
}

// Fuzz is the body of a fuzz target of readers: however a body is cut, it reads the
// same, and no quantity is negative.
func Fuzz(t testing.TB, codec wire.Codec, r *wire.Request, status int, body []byte, seed uint64) {
	t.Helper()
	response := Response{Status: status, Body: body}
	whole := Read(t, codec, r, response, 0)
	if diff := cmp.Diff(whole, Read(t, codec, r, response, seed|1)); diff != "" {
		t.Fatal(diff)
	}
	if (whole.Usage == nil) != (whole.RawUsage == nil) {
		t.Fatalf("usage %v of %s", whole.Usage, whole.RawUsage)
	}
	var usages [][]int64
	if whole.Usage != nil {
		usages = append(usages, whole.Usage[:])
	}
	for _, part := range whole.Parts {
		usages = append(usages, part.Usage[:])
	}
	for _, usage := range usages {
		for kind, n := range usage {
			if n < 0 {
				t.Fatalf("meter %d is %d", kind, n)
			}
		}
	}
	if whole.OutputBytes < 0 || whole.OutputBytes > 3*int64(len(body)) {
		t.Fatalf("%d bytes of output in a body of %d", whole.OutputBytes, len(body))
	}
}
