package escrow

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"

	"keel/budget"
	"keel/budget/ledger/record"
	"keel/pricing"
)

// Bank is the database's side of escrow: for every account it keeps
//
//	settled + leased ≤ ceiling + forced
//
// where leased is what replicas may still spend, and forced what was charged
// that nobody had leased. It is safe for concurrent use by many replicas. Every
// error that may pass by itself wraps budget.ErrUnavailable; the call may then have
// been done or not, and doing it again is harmless.
type Bank interface {
	// Beat says that an epoch lives, and returns the state of the whole.
	Beat(ctx context.Context, m Member) (Fleet, error)

	// Lease adds to the slice of an account, by one conditional update:
	//
	//	room  = ceiling − settled − leased − r.Owed   (of a rolling window: over all buckets that still count)
	//	given = min(r.Want, max(r.Min, room / r.Share)) if room ≥ r.Min, else 0
	//
	// Nothing is given to an epoch that is finished, of a budget that is gone, while
	// the database is learning after a failover, or when r.Timeline is not its timeline.
	Lease(ctx context.Context, r LeaseRequest) (Lease, error)

	// Recall asks all replicas to return what they do not use of the accounts.
	Recall(ctx context.Context, keys []Key) error

	// Recalls delivers what Recall was asked, by any replica, until ctx ends, and
	// accounts whose budget was cut. It returns when it can listen no more; what was asked meanwhile is lost.
	Recalls(ctx context.Context, recalled func(Key)) error

	// Settle writes records, exactly once: those up to what is applied are left
	// out, and a gap behind it is a *GapError. New records of an epoch that is
	// finished are ErrFinished: what it left open is charged in full already.
	// When it has returned it keeps nothing of the batch but texts: the memory of its records is used again.
	Settle(ctx context.Context, b Batch) (Settled, error)

	// Finish ends an epoch whose records are all applied: decisions that it left
	// open are charged at the full hold, and its slices go back. Nothing is leased
	// to it afterwards, and nothing of it settled. Finishing twice changes nothing.
	// It is a *GapError if less than applied is settled of an org.
	Finish(ctx context.Context, epoch uuid.UUID, applied map[string]uint64) error

	// Applied returns the last record of every org that was settled for an epoch.
	Applied(ctx context.Context, epoch uuid.UUID) (map[string]uint64, error)

	// Reassert raises what was granted to an epoch, without asking for room, to what it
	// holds after a failover took the newest transactions away. It never lowers.
	Reassert(ctx context.Context, epoch uuid.UUID, granted []Grant) error

	// Standings reads accounts. Those that it does not know are left out.
	Standings(ctx context.Context, keys []Key) ([]Standing, error)
}

// Member is one run of one process, to the bank.
type Member struct {
	Epoch uuid.UUID
	Host  string
	Now   time.Time // of its clock
}

// Fleet is what one heartbeat learns.
type Fleet struct {
	Live     int       // replicas heard of lately, at least 1
	Now      time.Time // of the database's clock
	Timeline string    // differs after a failover; "" where the database has no such thing
	Learning bool      // no leases now: replicas re-assert theirs
}

// LeaseRequest asks for more of an account.
type LeaseRequest struct {
	Epoch     uuid.UUID
	Key       Key
	Want, Min pricing.NanoUSD // 0 ≤ Min ≤ Want; both 0 only ask what was granted
	Share     int64           // the part of the room that one grant may take at most, as 1/Share, unless that is less than Min; ≥ 1
	Owed      pricing.NanoUSD // debt of this replica that is not settled yet
	Timeline  string          // as the last Beat had it
}

// Lease answers a LeaseRequest.
type Lease struct {
	Granted pricing.NanoUSD // to the epoch in this account, ever: also what an earlier answer that was lost gave
	Given   pricing.NanoUSD // by this request

	// The account afterwards; of a rolling window, over all buckets that still count.
	Settled, Leased, Ceiling pricing.NanoUSD
	// The budget as it is in force: it may be newer than the one that the call was decided by.
	Limit   pricing.NanoUSD
	Version int64
	// Idle is, when there was no room, what of Leased no decision is known to hold: of other
	// epochs that live, slices that a recall may bring back and holds that are not settled yet.
	Idle pricing.NanoUSD
	// Why nothing was given: NoRoom, or a reason of another kind. "" if something was.
	Refused string
}

// Reasons for a lease that gives nothing.
const (
	NoRoom      = "no room"
	NoBudget    = "there is no such budget"
	IsLearning  = "the database is learning after a failover"
	IsFinished  = "the epoch is finished"
	NotItsClock = "the bucket is not the current one by the database's clock"
)

// Grant is what an epoch holds it was ever granted in an account.
type Grant struct {
	Key     Key
	Granted pricing.NanoUSD
}

// Batch is records of one epoch and one org in order, seqs without gap.
type Batch struct {
	Epoch   uuid.UUID
	Org     string
	Records []Record
}

// Record is one record of a journal. One of the pointers is set.
type Record struct {
	Seq      uint64
	Digest   record.Digest    // of what the journal holds
	Decision *budget.Decision // permitted, denied, unmetered or owed
	Closeout *record.Closeout
	Return   *record.Return
	Response *budget.Closeout

	Extension *record.Extension
}

// Settled answers a Batch.
type Settled struct {
	Applied   uint64 // last seq that is settled now
	Standings []Standing
}

// Standing is an account as the bank has it.
type Standing struct {
	Key
	Settled, Held, Leased pricing.NanoUSD
}

// ErrFinished says that an epoch is finished, and takes no more records.
var ErrFinished = errors.New("the epoch is finished")

// GapError says that records are missing between what is applied and a batch:
// the database forgot some, or the reader skipped some. Either way, go on from Applied + 1.
type GapError struct {
	Epoch          uuid.UUID
	Org            string
	Applied, First uint64
}

func (e *GapError) Error() string {
	return fmt.Sprintf("epoch %s, org %s: record %d follows %d", e.Epoch, e.Org, e.First, e.Applied)
}
