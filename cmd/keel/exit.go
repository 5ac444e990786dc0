package main

// exitError ends a command with a code of its own.
type exitError struct {
	code int
	error
}

func (e *exitError) Unwrap() error { return e.error }

// The codes of a verification or a check: what a script must tell apart.
func tampered(err error) error   { return &exitError{1, err} }
func notChecked(err error) error { return &exitError{2, err} }
