package main

import (
	"fmt"
	"net"
	"net/http"
	"net/http/pprof"
	"runtime"
)

// profileFlags are of the verbs that an operator may want to look into while they serve.
type profileFlags struct {
	Pprof bool `help:"Serve Go's profiles at /debug/pprof/ of the admin port, which then has to be a loopback address."`
}

// mutexFraction is the share of waits for a lock that a profile samples: one in so many.
const mutexFraction = 100

// check refuses profiles where other machines could read them: they tell what the
// process does and whom it talks to, and taking one costs CPU.
func (f profileFlags) check(admin net.Addr) error {
	if !f.Pprof {
		return nil
	}
	if a, ok := admin.(*net.TCPAddr); !ok || !a.IP.IsLoopback() {
		return fmt.Errorf("the admin address %s is reached from other machines, and anybody could take profiles: leave out --pprof, or give a loopback address such as --admin 127.0.0.1:10001", admin)
	}
	runtime.SetMutexProfileFraction(mutexFraction)
	return nil
}

// register adds the pages. The command line is not one of them: it may hold a password.
func (f profileFlags) register(mux *http.ServeMux) {
	if !f.Pprof {
		return
	}
	mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	for _, name := range []string{"allocs", "goroutine", "heap", "mutex", "threadcreate"} {
		mux.Handle("GET /debug/pprof/"+name, pprof.Handler(name))
	}
}
