// Package record turns decisions, their extensions, closeouts and returned slices into the bytes
// of a journal record, and back. The format is binary, versioned and written by
// hand, because an intent is written before every call goes out: appending one
// takes no reflection and no allocation.
//
// It writes no file and knows no database.
package record

import (
	"time"

	"github.com/google/uuid"

	"keel/budget"
	"keel/pricing"
)

// Kind is what a record holds. The numbers are part of the format.
type Kind byte

// The kinds.
const (
	KindDecision Kind = 1 // an intent, when it has holds; else a denial or an unmetered call
	KindCloseout Kind = 2
	KindReturn   Kind = 3
	KindResponse Kind = 4 // a closeout that knows its decision by the response alone

	KindExtension Kind = 5
)

// Charge is what a closeout settles in one account.
type Charge struct {
	Account budget.Account
	Held    pricing.NanoUSD // what the decision held there
	Amount  pricing.NanoUSD // what it costs: the cost, or Held and no less where that is not known
	Leased  bool            // Held came out of a slice; else nobody had set it aside (an observing budget, a debt)
}

// Closeout is the end of a decision with what it settles.
type Closeout struct {
	budget.Closeout
	// Known says that the replica knew the decision. If not, its holds are looked
	// up where the closeout is settled, and Charges is nil.
	Known bool
	// Lease is the epoch whose slices the decision held. It differs from that of
	// the journal when the call outlived a journal that had failed.
	Lease   uuid.UUID
	Charges []Charge
}

// Extension sets more aside for a decision that is open. In its journal it is behind the
// decision, and before every closeout of it.
type Extension struct {
	ID   uuid.UUID // of the decision
	Org  string
	At   time.Time
	Debt bool // of a decision that is a debt
	More []More
}

// More is what an extension adds to one hold. There is one for each hold of the decision, in their order.
type More struct {
	Account budget.Account
	Amount  pricing.NanoUSD // ≥ 0
	Leased  bool            // as that of the hold
}

// Return gives back what is left of a slice.
type Return struct {
	Account budget.Account
	Amount  pricing.NanoUSD // > 0
}

// Leased says whether a hold of d is taken out of a slice: an enforcing budget's
// is, unless the decision is a debt.
func Leased(d *budget.Decision, h *budget.Hold) bool { return h.Ceiling >= 0 && !d.Debt }
