// Package signin finds out who looks at the review pages: nobody in particular on a loopback address, whom a
// reverse proxy names in a header, or whom an OpenID Connect provider names.
//
// What people may see is said by organisation, in one file: by their groups, by their names, or by a header or claim
// that lists organisations. Who is in none of them is signed in, and sees nothing.
//
// It keeps no passwords and no list of people, and stores nothing: a session is a signed cookie.
package signin
