// Package replay runs recorded decisions through another configuration: the real
// Decider over a ledger in memory, in the order in which calls were decided and ended,
// with what they really cost. It tells who would have been denied, downgraded or
// constrained, and the money either way.
//
// It is deterministic: the same records and documents give the same report, byte for byte.
//
// Prompts are not stored, so token counts are those of the record: the estimate for
// the target that was taken is the recorded one, and for other targets its token
// counts are kept and their prices taken. What else is approximated a Report says of itself, with how many
// calls it touches.
//
// It refuses to guess what nobody recorded: a call that was denied has no usage, so what it would
// have cost is its estimate, and is counted apart.
package replay
