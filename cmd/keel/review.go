package main

import (
	"fmt"
	"net"

	"keel/budget/audit/pages"
	"keel/budget/audit/pages/signin"
)

// reviewFlags are of the verbs that have an admin port.
type reviewFlags struct {
	SignIn   string `name:"sign-in" help:"File that says how people sign in to the review pages, and what they may see; see docs/review.md. Without one nobody signs in, which is for a loopback address." placeholder:"FILE"`
	NoReview bool   `help:"No review pages on the admin port."`
}

// open makes the review pages, or nil where they are not wanted. They show what every organisation spends, so they are on
// an address that other machines reach only for people who sign in.
func (f *reviewFlags) open(o processorOptions, admin net.Addr) (*pages.Server, error) {
	if f.NoReview {
		return nil, nil
	}
	var signIn pages.SignIn = signin.Nobody{}
	if f.SignIn != "" {
		config, err := signin.Read(f.SignIn)
		if err != nil {
			return nil, err
		}
		if signIn, err = signin.New(config, o.Log); err != nil {
			return nil, err
		}
	} else if a, ok := admin.(*net.TCPAddr); !ok || !a.IP.IsLoopback() {
		return nil, fmt.Errorf("the admin address %s is reached from other machines, and its review pages would show everybody's spend to anybody: "+
			"say with --sign-in FILE who may see what, leave the pages out with --no-review, or give a loopback address such as --admin 127.0.0.1:10001", admin)
	}
	return pages.New(pages.Options{Database: o.Database, SignIn: signIn, Version: version(), Logger: o.Log})
}
