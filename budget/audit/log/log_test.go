package log

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
	"pgregory.net/rapid"
)

// stored keeps tiles as a database does.
type stored map[TileID][]byte

func (s stored) Tile(id TileID) ([]byte, error) {
	if data, ok := s[id]; ok {
		return data, nil
	}
	return nil, fmt.Errorf("no tile %v", id)
}

func entry(i int64) []byte {
	h := sha256.Sum256(fmt.Append(nil, i))
	return h[:]
}

// reference is the tree as sumdb stores it, hash by hash.
type reference []tlog.Hash

func (r *reference) ReadHashes(indexes []int64) (hashes []tlog.Hash, err error) {
	for _, i := range indexes {
		hashes = append(hashes, (*r)[i])
	}
	return hashes, nil
}

// However a log grows, in whatever steps and with whatever forgotten, its tree is that of sumdb, and its proofs hold.
func TestTree(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		tiles := stored{}
		tree := NewTree(tiles, 0)
		var want reference
		for range rapid.IntRange(1, 6).Draw(t, "steps") {
			for range rapid.SampledFrom([]int64{1, 2, 3, 200, 255, 256, 257, 700}).Draw(t, "entries") {
				n := tree.Size()
				if err := tree.Append(entry(n)); err != nil {
					t.Fatal(err)
				}
				hashes, err := tlog.StoredHashes(n, entry(n), &want)
				if err != nil {
					t.Fatal(err)
				}
				want = append(want, hashes...)
			}
			for id, data := range tree.Grown() {
				tiles[id] = bytes.Clone(data)
			}
			if rapid.Bool().Draw(t, "begin anew") {
				tree = NewTree(tiles, tree.Size())
			}
		}
		size := rapid.Int64Range(1, tree.Size()).Draw(t, "size")
		root, err := tree.Root(size)
		if wanted, _ := tlog.TreeHash(size, &want); err != nil || root != wanted {
			t.Fatalf("size %d: root %s, want %s; %v", size, root, wanted, err)
		}
		index := rapid.Int64Range(0, size-1).Draw(t, "index")
		proof, err := tree.Inclusion(size, index)
		if err != nil {
			t.Fatal(err)
		}
		c := Checkpoint{Origin: "o", Size: size, Root: root}
		if err := CheckInclusion(proof, c, index, entry(index)); err != nil {
			t.Error(err)
		}
		if CheckInclusion(proof, c, index, entry(index+1)) == nil || size > 1 && CheckInclusion(proof, c, (index+1)%size, entry(index)) == nil {
			t.Error("a proof of something else holds")
		}
		before := rapid.Int64Range(1, size).Draw(t, "before")
		was, _ := tree.Root(before)
		consistent, err := tree.Consistency(size, before)
		if err != nil || tlog.CheckTree(consistent, size, root, before, was) != nil {
			t.Errorf("size %d does not go on from %d: %v", size, before, err)
		}
	})
}

func TestTreeNeedsItsTiles(t *testing.T) {
	t.Parallel()
	tree := NewTree(stored{}, 300)
	if err := tree.Append(entry(300)); err == nil {
		t.Error("appended to a tile that is not there")
	}
	tree = NewTree(stored{{0, 1}: make([]byte, 32)}, 300)
	if err := tree.Append(entry(300)); err == nil || !strings.Contains(err.Error(), "should have 44") {
		t.Errorf("appended to a tile that is cut: %v", err)
	}
}

func newKey(t *testing.T, name string) (note.Signer, string) {
	t.Helper()
	secret, public, err := note.GenerateKey(rand.Reader, name)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := note.NewSigner(secret)
	if err != nil {
		t.Fatal(err)
	}
	return signer, public
}

// cosign is what a witness does: c2sp.org/tlog-cosignature.
func cosign(t *testing.T, name string, signed string, at time.Time) (cosigned, public string) {
	t.Helper()
	key, secret, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	raw := append([]byte{4}, key...)
	hash := sha256.Sum256(append([]byte(name+"\n"), raw...))
	text, _, _ := strings.Cut(signed, "\n\n")
	sig := binary.BigEndian.AppendUint64(slices.Clone(hash[:4]), uint64(at.Unix()))
	sig = append(sig, ed25519.Sign(secret, fmt.Appendf(nil, "cosignature/v1\ntime %d\n%s\n", at.Unix(), text))...)
	return signed + "— " + name + " " + base64.StdEncoding.EncodeToString(sig) + "\n", fmt.Sprintf("%s+%x+%s", name, hash[:4], base64.StdEncoding.EncodeToString(raw))
}

func TestCheckpoint(t *testing.T) {
	t.Parallel()
	signer, public := newKey(t, "keel.example.com/audit")
	c := Checkpoint{"keel.example.com/audit", 12, Hash(entry(1))}
	signed, err := Sign(c, signer)
	if err != nil {
		t.Fatal(err)
	}
	keys, err := ParseKeys(public)
	if err != nil {
		t.Fatal(err)
	}
	got, err := Open(signed, keys)
	if err != nil || got.Checkpoint != c || got.Note != signed || len(got.Signers) != 1 || got.Signers[0] != KeyName(public) {
		t.Errorf("%+v, %v", got, err)
	}
	at := time.Unix(1_790_000_000, 0).UTC()
	cosigned, witness := cosign(t, "witness.example.org", signed, at)
	if got, err := Open(cosigned, keys); err != nil || got.Unverified != 1 || got.Cosigners != nil {
		t.Errorf("a witness that nobody knows: %+v, %v", got, err)
	}
	both, err := ParseKeys(public, witness)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := Open(cosigned, both); err != nil || len(got.Cosigners) != 1 || got.Cosigners[0] != (Cosigner{"witness.example.org", at}) {
		t.Errorf("cosigned: %+v, %v", got, err)
	}
	if _, err := Open(strings.Replace(cosigned, "\n12\n", "\n13\n", 1), both); err == nil {
		t.Error("a text that nobody signed")
	}
	onlyWitness, _ := ParseKeys(witness)
	if _, err := Open(cosigned, onlyWitness); !errors.Is(err, ErrUnsigned) {
		t.Errorf("a witness alone vouches for the log: %v", err)
	}
	other, otherPublic := newKey(t, "keel.example.com/audit")
	_ = other
	otherKeys, _ := ParseKeys(otherPublic)
	if got, err := Open(signed, otherKeys); !errors.Is(err, ErrUnsigned) || got.Checkpoint != c {
		t.Errorf("another key: %+v, %v", got, err)
	}
	for _, bad := range []string{"", "PRIVATE+KEY+x", "name+00000000+AAAA", strings.Replace(witness, "+", "+f", 1)} {
		if _, err := ParseKeys(bad); err == nil {
			t.Errorf("key %q was taken", bad)
		}
	}
}

func TestParseCheckpoint(t *testing.T) {
	t.Parallel()
	root := base64.StdEncoding.EncodeToString(entry(1))
	for text, ok := range map[string]bool{
		"o\n1\n" + root + "\n":               true,
		"o\n0\n" + root + "\nan extension\n": true,
		"o\n1\n" + root:                      false,
		"\n1\n" + root + "\n":                false,
		"o\n01\n" + root + "\n":              false,
		"o\n-1\n" + root + "\n":              false,
		"o\n1\n" + root[:20] + "\n":          false,
		"o\nx\n" + root + "\n":               false,
	} {
		if _, err := ParseCheckpoint(text); (err == nil) != ok {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func FuzzOpen(f *testing.F) {
	secret, public, _ := note.GenerateKey(rand.Reader, "o")
	signer, _ := note.NewSigner(secret)
	signed, _ := Sign(Checkpoint{"o", 5, Hash(entry(1))}, signer)
	f.Add(signed)
	f.Add("o\n1\nAAAA\n\n— o AAAA\n")
	keys, _ := ParseKeys(public)
	f.Fuzz(func(t *testing.T, text string) {
		if got, err := Open(text, keys); err == nil && (got.Text() != signed[:len(got.Text())] || len(got.Signers) == 0) {
			t.Errorf("%q opens as %+v", text, got)
		}
	})
}
