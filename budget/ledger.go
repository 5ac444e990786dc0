package budget

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"

	"keel/pricing"
)

// Ledger keeps accounts and decisions. It is safe for concurrent use.
type Ledger interface {
	// Permit takes every hold of d, or none, and records d so that it outlives
	// this process. It returns a *Refused naming the first account, in the order
	// of d.Holds, without room, and an error that wraps ErrUnavailable when it can't say
	// before ctx ends; then nothing of d is kept.
	Permit(ctx context.Context, d *Decision) error

	// Extend sets aside more for a call that was permitted and is not closed yet:
	// more[i] on top of the hold d.Holds[i], 0 for none, in every account or in none; of
	// one that Owe permitted, as debt, with the same credit. It returns a *Refused naming the
	// first account without room, whose Hold.Amount is what was asked for now, and an error that
	// wraps ErrUnavailable when it can't say before ctx ends, or when this process does not know
	// the call as open (closed, never permitted, or permitted under a journal that has failed
	// since); then nothing changes. The extension outlives this process: an orphan is charged at its extended hold.
	Extend(ctx context.Context, id uuid.UUID, more []pricing.NanoUSD) error

	// Owe permits d, whose Debt is set, without asking the database: each hold is
	// taken as debt of its account, up to Hold.Debt in all on this replica for those
	// that enforce. It returns a *Refused, and keeps nothing, when one has no more
	// credit. It does not block.
	Owe(d *Decision) error

	// Record keeps a decision that holds nothing: denied and unmetered ones. It
	// does not block and does not fail: what can't be written now is written when
	// the database is back.
	Record(d *Decision)

	// CloseOut ends a decision: it settles the cost, or the full hold with its extensions where
	// CostKnown is false, and releases the holds. Closing twice changes nothing, except that a
	// real closeout replaces one that was presumed because nobody had closed: by the
	// sweeper, or by Annotate. It does not block: see Await.
	//
	// What Owe, Record and CloseOut are given is read later, too: it must not be changed any more.
	CloseOut(c *Closeout) Receipt

	// Await returns when what the receipt is for is as durable as asked for, or
	// with the reason why it is not when ctx ends. DurabilityOS returns at once.
	Await(ctx context.Context, r Receipt, as Durability) error

	// CloseOutResponse ends the decision of c.Org whose closeout is Awaited under
	// c.ResponseID; c.ID is not looked at. Where there is none, or it was ended
	// before, nothing changes. It does not block.
	CloseOutResponse(c *Closeout)

	// Annotate adds what the access log tells of a call after it was closed, and
	// closes it, as aborted at the full hold, if nobody did within a grace time. Where it tells what the attempts
	// of the call cost, that takes the place of a closeout that was presumed, once and by the difference; it is never
	// the first. It does not block, and what it is given may be lost.
	Annotate(a Annotation)

	// Standing is the state of an account as this replica last knew it, at most
	// a second old, from memory. An account never used reads as zero. Of a rolling
	// window it is the sum over all that still counts.
	Standing(a Account) Standing
}

// Receipt names a record of the journal. The zero Receipt is for what was not
// written there: Await then says why not.
type Receipt struct {
	Epoch uuid.UUID
	Org   string
	Seq   uint64 // of the org in the epoch, from 1
	End   int64  // where the record ends in the journal, bytes from its beginning
}

// Standing is what is spent and set aside in one account.
type Standing struct {
	Settled pricing.NanoUSD
	Held    pricing.NanoUSD
}

// Annotation is what Envoy's access log says of a finished call.
type Annotation struct {
	ID            uuid.UUID
	Org           string
	At            time.Time
	HTTPStatus    int
	Attempts      int
	Flags         string // Envoy response flags, comma-separated
	Details       string // response_code_details
	ResponseBytes int64
	// Correction is the end of a call by its attempts alone, nil where the log does not tell of them all. Its cost is
	// known and its attempts have rows, unless there were none.
	Correction *Closeout
}

// ErrUnavailable says that the ledger can't be asked now.
var ErrUnavailable = errors.New("ledger unavailable")

// Refused says that an account has no room for a hold.
type Refused struct {
	Hold     Hold     // with limit and version as they are in force: an edit may be newer than the decision
	Standing Standing // as the ledger had it when it refused; Held is all that replicas have set aside
}

func (r *Refused) Error() string {
	return fmt.Sprintf("budget %s/%s has no room for a hold of %d nano-dollars", r.Hold.Org, r.Hold.Budget, r.Hold.Amount)
}
