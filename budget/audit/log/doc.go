// Package log is the Merkle log of records in the formats of transparency logs:
// checkpoints (c2sp.org/tlog-checkpoint) as signed notes (c2sp.org/signed-note), cosignatures of
// witnesses (c2sp.org/tlog-cosignature), tiles of hashes (c2sp.org/tlog-tiles) and proofs of RFC 6962. The
// arithmetic is that of golang.org/x/mod/sumdb.
//
// An entry of the log is 32 bytes, the SHA-256 of a record's canonical form (package leaf).
//
// It knows no database and no record: tiles come from and go to its caller. It never signs by itself.
package log
