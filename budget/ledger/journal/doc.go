// Package journal keeps records on a local disk until a database has them.
//
// A process run is an epoch, and has a journal of its own: a folder of preallocated
// segments to which records are appended, each with one pwrite by the goroutine that
// has something to say. A record has an org and the next number of that org, so that
// whoever settles it can tell a repeated record from a missing one. When Append
// returns, SIGKILL loses nothing; when Sync returns, power loss loses nothing either.
//
// A reader follows behind the writer. Segments whose records are all kept elsewhere are
// marked, kept for a time, in case the database forgets, and then deleted.
//
// A journal is read again by a later process, whole or not at all: whatever was
// durable once and is not there any more, or was changed, makes the whole journal one
// that is kept aside. Only what was never promised, the unsynced tail of a machine that
// lost power, is left out.
//
// The package knows nothing of money, databases or what a payload means. It never
// repairs, never skips a record, and never writes to a file again after a write or a
// sync of it failed. It assumes that one machine at a time mounts the folder's volume.
package journal
