// Package export writes what calls cost into files that anybody can read and add
// up: CSV, JSON lines and Parquet, with a manifest beside each that says what is in it.
//
// An export streams: it takes the memory of a few thousand records, whatever the
// range. It can be cut anywhere and resumed; what is written grows under
// another name, and the file has its name only once it is whole. At the end its sums are compared
// with the ledger's own, to the nano-dollar, and a difference is an error.
//
// A manifest can be signed, and hold the newest checkpoint of the log: see Seal.
//
// It refuses to overwrite a file, to resume one of another range or
// format, to resume where records before the cut have changed since, and to
// round: money is written with all its decimals.
package export
