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
	// Permit records d and takes every hold of it, or none. It returns a
	// *Refused naming the first account, in the order of d.Holds, without room,
	// and an error that wraps ErrUnavailable when it can't say before ctx ends;
	// then nothing of d is kept (or the sweeper ends what was).
	Permit(ctx context.Context, d *Decision) error

	// Record keeps a decision without asking for room: denied and unmetered
	// ones, and those permitted as debt while the ledger was away, whose holds are taken
	// whatever the limits. It does not block and does not fail: what can't be written
	// now is written when the database is back.
	Record(d *Decision)

	// CloseOut ends a decision: it settles the cost, or the full hold where CostKnown is
	// false, and releases the holds. Closing twice changes nothing, except that a
	// real closeout replaces one that was presumed because nobody had closed: by the
	// sweeper, or by Annotate. It does not block.
	//
	// What Record and CloseOut are given is read later, too: it must not be changed any more.
	CloseOut(c *Closeout)

	// CloseOutResponse ends the decision of c.Org whose closeout is Awaited under
	// c.ResponseID; c.ID is not looked at. Where there is none, or it was ended
	// before, nothing changes. It does not block.
	CloseOutResponse(c *Closeout)

	// Annotate adds what the access log tells of a call after it was closed, and
	// closes it, as aborted at the full hold, if nobody did within a grace time. It does not block.
	Annotate(a Annotation)

	// Standing is the state of an account as this replica last knew it, at most
	// a second old, from memory. An account never used reads as zero.
	Standing(a Account) Standing
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
}

// ErrUnavailable says that the ledger can't be asked now.
var ErrUnavailable = errors.New("ledger unavailable")

// Refused says that an account has no room for a hold.
type Refused struct {
	Hold     Hold
	Standing Standing // as the ledger had it when it refused
}

func (r *Refused) Error() string {
	return fmt.Sprintf("budget %s/%s has no room for a hold of %d nano-dollars", r.Hold.Org, r.Hold.Budget, r.Hold.Amount)
}
