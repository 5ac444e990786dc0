// Package audit is the read side of the ledger for those who must not have to trust it:
// it takes what the ledger announced into a Merkle log, signs and anchors checkpoints, proves
// single records, and verifies all of them.
//
// It never changes a decision, a closeout or an amount. The one thing that it takes away is the value of a
// label, when somebody asks for that (Erase). It does not decide and does not settle.
//
// docs/audit.md says for an auditor what each check proves, and what it can't.
package audit
