package ledger

import (
	"syscall"
	"testing"
	"time"

	"github.com/google/uuid"

	"keel/budget"
	"keel/budget/audit/leaf"
	"keel/budget/ledger/escrow"
	"keel/budget/ledger/journal"
	"keel/budget/ledger/record"
	"keel/pricing"
)

// BenchmarkRecords measures what settlement costs a call, which is two records, in CPU, here and without the database: the records are
// decoded as a journal has them, and then sorted, written as rows, made leaves of and booked.
func BenchmarkRecords(b *testing.B) {
	const calls = 500
	j := &testJournal{epoch: uuid.Must(uuid.NewV7())}
	var journaled []journal.Record
	for range calls {
		d, end := usualCall(j)
		journaled = append(journaled, journal.Record{Kind: byte(record.KindDecision), Payload: record.AppendDecision(nil, d.Decision)},
			journal.Record{Kind: byte(record.KindCloseout), Payload: record.AppendCloseout(nil, end.Closeout)})
	}
	decode := decoding(b)
	m := leafMakers.Get().(*leafMaker)
	labels := newLeafLabels()
	labels.decision(decode(journaled)[0].Decision)
	for _, l := range labels.all {
		m.known[l] = leaf.Commit("acme", l.Name, l.Value, []byte("salt"))
	}
	for _, to := range []string{"decoded", "settled"} {
		b.Run(to, func(b *testing.B) {
			b.ReportAllocs()
			at, n := ownCPU(b), 0
			for b.Loop() {
				records := decode(journaled)
				if n += calls; to == "settled" {
					settleNowhere(b, j, records, m)
				}
			}
			b.ReportMetric(float64((ownCPU(b)-at).Nanoseconds())/1000/float64(n), "go-µs/call")
		})
	}
}

// decoding decodes into memory that is used again, as the uploader does.
func decoding(b *testing.B) func([]journal.Record) []escrow.Record {
	var d record.Decoder
	var records []escrow.Record
	return func(journaled []journal.Record) []escrow.Record {
		d.Reset()
		records = records[:0]
		for i, rec := range journaled {
			rec.Seq = uint64(i + 1)
			r, err := escrow.Decode(&d, rec)
			if err != nil {
				b.Fatal(err)
			}
			records = append(records, r)
		}
		return records
	}
}

func ownCPU(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// settleNowhere is what settlement does but for what it asks the database.
func settleNowhere(b *testing.B, j *testJournal, records []escrow.Record, m *leafMaker) {
	if err := checkBatch(&escrow.Batch{Epoch: j.epoch, Org: "acme", Records: records}); err != nil {
		b.Fatal(err)
	}
	s := settlement{org: "acme", epoch: j.epoch, money: newBooking(), states: make(map[uuid.UUID]string),
		here: make(map[uuid.UUID]*budget.Decision, len(records)/2), more: make(map[uuid.UUID][]pricing.NanoUSD)}
	s.sort(records)
	labels := newLeafLabels()
	decisions, closeouts := newRows(), newRows()
	for i := range records {
		r := &records[i]
		if r.Decision == nil {
			continue
		}
		labels.decision(r.Decision)
		if !decisions.decision(s.org, s.epoch, r.Seq, &r.Digest, r.Decision) {
			b.Fatal("no plain row")
		}
		if _, ok := m.hash(decisionLeaves, decisions); !ok {
			b.Fatal("no leaf")
		}
		decisions.Reset()
	}
	for _, c := range s.closings {
		labels.closeout(c.Closeout)
		if !closeouts.closeout(s.org, s.epoch, c.seq, c.digest, c.Closeout) {
			b.Fatal("no plain row")
		}
		if _, ok := m.hash(closeoutLeaves, closeouts); !ok {
			b.Fatal("no leaf")
		}
		closeouts.Reset()
		s.close(c.Closeout, false)
	}
	decisions.free()
	closeouts.free()
	for i := range records {
		s.chain = record.ChainNext(s.chain, records[i].Seq, records[i].Digest)
	}
}
