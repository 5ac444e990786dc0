package journal

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// sectors is the disk of a machine that may lose power: what is not synced may be lost, sector by sector.
type sectors struct {
	mu      sync.Mutex
	durable map[string][]byte
}

func (s *sectors) disk() *disk {
	d := noSync()
	d.fdatasync = func(fd int) error {
		name, err := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", fd))
		if err != nil {
			return err
		}
		b, err := os.ReadFile(name)
		s.mu.Lock()
		defer s.mu.Unlock()
		s.durable[filepath.Base(strings.TrimSuffix(name, youngSuffix))] = b
		return err
	}
	return d
}

// crash makes a folder of what may be on the disk after the power was lost.
func (s *sectors) crash(t tester, from, to string, dice *rand.Rand) {
	t.Helper()
	if err := os.MkdirAll(to, 0o750); err != nil {
		t.Fatalf("%v", err)
	}
	entries, err := os.ReadDir(from)
	if err != nil {
		t.Fatalf("%v", err)
	}
	lose := dice.Float64()
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, e := range entries {
		now, err := os.ReadFile(filepath.Join(from, e.Name()))
		if err != nil {
			t.Fatalf("%v", err)
		}
		durable := s.durable[e.Name()]
		for at := 0; at < len(durable); at += 512 {
			if end := min(at+512, len(now)); !bytes.Equal(now[at:end], durable[at:end]) && dice.Float64() < lose {
				copy(now[at:end], durable[at:end])
			}
		}
		if err := os.WriteFile(filepath.Join(to, e.Name()), now, 0o640); err != nil {
			t.Fatalf("%v", err)
		}
	}
}

// TestPowerLossKeepsWhatWasSynced: any set of sectors that were written since the last fdatasync may be lost.
func TestPowerLossKeepsWhatWasSynced(t *testing.T) {
	const cases = 3000
	root, shorter := t.TempDir(), 0
	for n := range cases {
		dice := rand.New(rand.NewPCG(uint64(n), 5))
		dir := filepath.Join(root, fmt.Sprint(n))
		s := &sectors{durable: make(map[string][]byte)}
		f := open(t, dir, Options{disk: s.disk(), SyncEvery: time.Hour})
		j := begin(t, f)
		var all []entry
		synced := 0
		for range 1 + dice.IntN(4) {
			for range dice.IntN(14) {
				all = append(all, add(t, j, []string{"a", "bb"}[dice.IntN(2)], strings.Repeat("x", dice.IntN(1500))))
			}
			if dice.IntN(3) > 0 && len(all) > 0 {
				if err := j.Sync(t.Context(), all[len(all)-1].at.End); err != nil {
					t.Fatal(err)
				}
				synced = len(all)
			}
		}
		for synced < len(all) && j.synced.Load() >= all[synced].at.End {
			synced++ // a segment was full
		}
		name := j.Epoch().String()
		after := filepath.Join(root, fmt.Sprintf("%d-after", n))
		j.making.Lock() // a segment that is being made has its name before or after
		j.syncing.Lock()
		s.crash(t, filepath.Join(dir, name), filepath.Join(after, name), dice)
		j.syncing.Unlock()
		j.making.Unlock()
		_ = f.Close()
		left, aside, done := leftOf(t, after, Options{})
		if aside != nil {
			t.Fatalf("case %d: aside: %s", n, aside.Reason)
		}
		got, err := readAll(left.Reader())
		if err != nil || len(got) < synced || len(got) > len(all) {
			t.Fatalf("case %d: %d records of %d, %d synced: %v", n, len(got), len(all), synced, err)
		}
		same(t, fmt.Sprintf("case %d", n), got, all[:len(got)])
		if len(got) < len(all) {
			shorter++
		}
		done()
		_, _ = os.RemoveAll(dir), os.RemoveAll(after)
	}
	if shorter < cases/10 {
		t.Fatalf("only %d of %d cases lost a record: the test does not lose enough", shorter, cases)
	}
}
