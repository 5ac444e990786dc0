package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"
)

type profilePage struct{ file, page, open string }

// profiled are what is taken of Keel under load, one after the other. A mutex
// profile is of all the time before it.
var profiled = []profilePage{
	{"cpu.pprof", "profile?seconds=10", "pprof -http=127.0.0.1:0"},
	{"heap.pprof", "heap?gc=1", "pprof -http=127.0.0.1:0 -sample_index=inuse_space"},
	{"allocs.pprof", "allocs?seconds=5", "pprof -http=127.0.0.1:0 -sample_index=alloc_objects"},
	{"mutex.pprof", "mutex", "pprof -http=127.0.0.1:0"},
	{"trace.out", "trace?seconds=2", "trace -http=127.0.0.1:0"},
}

// endless is longer than any profile takes.
const endless = time.Hour

// profile takes profiles of a Keel under the load of a cell into dir, and says how to open them.
func (r *runner) profile(ctx context.Context, c cell, name, dir string, out io.Writer) error {
	t, err := r.start(ctx, name)
	if err != nil {
		return err
	}
	if t.admin == "" {
		return fmt.Errorf("%s is not Keel: there is nothing to profile", name)
	}
	dir = filepath.Join(dir, c.String()+"-"+name)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	if _, err := r.load(t, c).run(ctx, warmUp); err != nil {
		return err
	}
	enough := errors.New("the profiles are taken")
	loaded, stop := context.WithCancelCause(ctx)
	ended := make(chan error, 1)
	go func() {
		_, err := r.load(t, c).run(loaded, endless)
		stop(err) // a load that fails leaves nothing to profile
		ended <- err
	}()
	err = takeProfiles(loaded, t.admin, dir, profiled)
	stop(enough)
	if failed := <-ended; !errors.Is(failed, enough) {
		return fmt.Errorf("%s, %s: %w", c, name, failed)
	}
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "\n%s under %s:\n", name, c)
	r.sayProfiles(out, dir, profiled)
	return nil
}

func (r *runner) sayProfiles(out io.Writer, dir string, pages []profilePage) {
	for _, p := range pages {
		tool, flags, _ := strings.Cut(p.open, " ")
		binary := ""
		if tool == "pprof" {
			binary = " " + r.keel
		}
		fmt.Fprintf(out, "  go tool %s %s%s %s\n", tool, flags, binary, filepath.Join(dir, p.file))
	}
}

// profiledStreams are what is taken of Keel while calls are open.
var profiledStreams = []profilePage{
	{"heap.pprof", "heap?gc=1", "pprof -http=127.0.0.1:0 -sample_index=inuse_space"},
	{"goroutines.pprof", "goroutine", "pprof -http=127.0.0.1:0"},
	{"memstats.txt", "heap?debug=1", "tail -30"},
}

// profileStreams takes profiles of a Keel with n open calls into dir, and says how to open them.
func (r *runner) profileStreams(ctx context.Context, name string, n int, dir string, out io.Writer) error {
	dir = filepath.Join(dir, fmt.Sprintf("%d-streams-%s", n, name))
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	f, err := r.openStreams(ctx, name, n, func(admin string) error { return takeProfiles(ctx, admin, dir, profiledStreams) })
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "\n%s with %d open calls, %d MB:\n", name, n, f.most/1e6)
	r.sayProfiles(out, dir, profiledStreams)
	return nil
}

func takeProfiles(ctx context.Context, admin, dir string, pages []profilePage) error {
	for _, p := range pages {
		body, err := get(ctx, "http://"+admin+"/debug/pprof/"+p.page)
		if err != nil {
			return fmt.Errorf("%s: %w", p.file, err)
		}
		if err := os.WriteFile(filepath.Join(dir, p.file), []byte(body), 0o644); err != nil {
			return err
		}
	}
	return nil
}
