// Package escrow is a replica's side of the ledger: what it may spend of every
// account, in memory, and the journal of what it did.
//
// A replica leases slices of accounts from the Bank and spends them without
// asking anybody: a permit takes its holds out of every slice or out of none, writes the
// intent to the journal, and returns. Slices are refilled behind the calls, sized by how
// fast they are spent. Near a limit slices shrink to what a single call needs, and what
// other replicas do not use is recalled, so that the last dollar is spent exactly once.
//
// What was leased is given to nobody else until its owner was heard of, so nothing here
// needs a clock or a lock to be safe. Every counter that crosses the wire is
// cumulative: an answer that is lost or comes twice changes nothing.
//
// An uploader follows the journal and settles it with the Bank, in order. A journal that
// an earlier process left is settled the same way, and then finished: what it left open is charged in full.
//
// The package decides nothing, prices nothing, and knows no SQL.
package escrow
