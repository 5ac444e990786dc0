package audit

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"
)

// Wrong is what is wrong with a record, or with the log.
type Wrong string

// What can be wrong.
const (
	Changed     Wrong = "changed"     // it is not what it was when it came into the log
	Removed     Wrong = "removed"     // the log has it, and it is not there
	Inserted    Wrong = "inserted"    // it is there, and never came in by a journal or an edit
	Reordered   Wrong = "reordered"   // it has another place than it was given
	Truncated   Wrong = "truncated"   // the end of the log is missing
	Gap         Wrong = "gap"         // numbers of a journal are missing
	Sum         Wrong = "sum"         // a budget's account is not the sum of its entries
	Checkpoints Wrong = "checkpoint"  // one contradicts the log, or another one
	Break       Wrong = "break"       // the log ended and goes on as another one, which was declared
	Signature   Wrong = "signature"   // a checkpoint is not signed by who it should be
	OutOfForce  Wrong = "not applied" // a document in force is not that of its last version
)

// Finding is one thing that is wrong.
type Finding struct {
	Wrong Wrong  `json:"wrong"`
	What  string `json:"what"`            // record, account, journal or checkpoint, by its name
	Why   string `json:"why"`             // what was found, and what it should be
	Leaf  *int64 `json:"leaf,omitempty"`  // its place in the log, where it has one
	Org   string `json:"org,omitempty"`   // whose it is
	ID    string `json:"id,omitempty"`    // of the record
	Epoch string `json:"epoch,omitempty"` // of the journal
}

func (f Finding) String() string { return fmt.Sprintf("%s: %s: %s", f.Wrong, f.What, f.Why) }

// Report is what Verify found.
type Report struct {
	At          time.Time      `json:"at"` // of the snapshot, by the database's clock
	Leaves      int64          `json:"leaves"`
	Records     int64          `json:"records"`     // that were made again from what is stored, and are their leaves
	Pending     int64          `json:"pending"`     // announced, and not in the log yet
	Retired     int64          `json:"retired"`     // leaves whose records were retired with their month
	Checkpoints int64          `json:"checkpoints"` // in the database
	Anchored    int64          `json:"anchored"`    // in anchors
	Signed      int64          `json:"signed"`      // leaves that the newest checkpoint covers
	Journals    int64          `json:"journals"`    // epochs whose numbers are whole and whose chain is right
	OnDisk      int64          `json:"on_disk"`     // records of journals on disk that the database has as they are there
	Waiting     int64          `json:"waiting"`     // records of journals on disk that are not settled yet
	Accounts    int64          `json:"accounts"`    // whose sums are right
	Seconds     float64        `json:"seconds"`
	Breaks      []Continuation `json:"breaks"`  // that were declared, whether or not they are accepted
	Notices     []string       `json:"notices"` // what was not checked, or is worth knowing
	Findings    []Finding      `json:"findings"`
	More        bool           `json:"more"` // not all findings are listed
}

// mostFindings bounds what a report lists of each kind.
const mostFindings = 100

// findings collects them, from several goroutines.
type findings struct {
	mu     sync.Mutex
	report *Report
	count  map[Wrong]int
}

func (f *findings) add(w Wrong, x Finding) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.count[w]++; f.count[w] > mostFindings {
		f.report.More = true
		return
	}
	x.Wrong = w
	f.report.Findings = append(f.report.Findings, x)
}

func (f *findings) notice(format string, args ...any) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.report.Notices = append(f.report.Notices, fmt.Sprintf(format, args...))
}

// sort makes a report the same, whichever goroutine was first.
func (f *findings) sort() {
	slices.SortStableFunc(f.report.Findings, func(a, b Finding) int {
		return strings.Compare(string(a.Wrong)+a.What+a.Why, string(b.Wrong)+b.What+b.Why)
	})
	slices.Sort(f.report.Notices)
}

// ranges writes numbers as people do: 3, 5 to 9.
func ranges(numbers []uint64) string {
	var parts []string
	for i := 0; i < len(numbers); {
		j := i
		for j+1 < len(numbers) && numbers[j+1] == numbers[j]+1 {
			j++
		}
		if j > i {
			parts = append(parts, fmt.Sprintf("%d to %d", numbers[i], numbers[j]))
		} else {
			parts = append(parts, fmt.Sprint(numbers[i]))
		}
		if i = j + 1; len(parts) == 20 && i < len(numbers) {
			parts = append(parts, "…")
			break
		}
	}
	return strings.Join(parts, ", ")
}
