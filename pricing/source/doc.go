// Package source reads price lists that others keep, as Price rows for a book,
// and says how two sets of prices differ.
//
// It refuses to guess: a unit, a condition or a match rule that it does not know
// is named in Imported.Skipped, together with the model that goes without because
// of it, and a rate is the decimal that the file spells, never a float. It opens no
// file and no connection, and it stores nothing.
package source
