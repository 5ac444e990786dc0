package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"keel/budget/ledger/pgserver"
	"keel/envoy/program"
)

// stage is what all variants share. What is started on it ends with it, and with
// this process, however that ends.
type stage struct {
	root, dir     string // the checkout; a folder for this run
	keel, nothing string // binaries
	pprof         bool   // Keel serves profiles
	progress      io.Writer
	provider      *provider
	postgres      *pgserver.Server // nil until a variant needs it
	targets       map[string]*target
	starts        int
}

// target is a running variant. A func that is nil is of something that it does not have.
type target struct {
	address                      string // host:port that clients call
	head                         string // see requestHead
	gateway, processor, database func() (stat, error)
	messages                     func(context.Context) (int64, error) // sent to external processors, so far
	waited                       func(context.Context) (int64, error) // permits that had to ask Postgres, so far
	settled                      func(context.Context) error          // returns when nothing is left to do
	admin                        string                               // of Keel
	slow                         bool                                 // it needs longer windows to have enough calls in them
	stop                         func() error
}

// build makes the binaries, and a folder that Envoy's and Postgres' users can enter.
func build(ctx context.Context, root string, progress io.Writer) (_ *stage, err error) {
	s := &stage{root: root, progress: progress, targets: map[string]*target{}}
	bin := filepath.Join(root, ".keel", "bench")
	s.keel, s.nothing = filepath.Join(bin, "keel"), filepath.Join(bin, "nothing")
	for binary, pkg := range map[string]string{s.keel: "keel/cmd/keel", s.nothing: "keel/e2e/bench/nothing"} {
		command := exec.CommandContext(ctx, "go", "build", "-o", binary, pkg)
		command.Dir = root
		if out, err := command.CombinedOutput(); err != nil {
			return nil, fmt.Errorf("go build %s: %w\n%s", pkg, err, out)
		}
	}
	if s.dir, err = os.MkdirTemp("", "keel-bench-"); err != nil {
		return nil, err
	}
	if err = os.Chmod(s.dir, 0o755); err == nil {
		s.provider, err = startProvider()
	}
	if err != nil {
		return nil, errors.Join(err, s.close())
	}
	return s, nil
}

// close ends everything and removes the folder.
func (s *stage) close() error {
	var failures []error
	for name := range s.targets {
		failures = append(failures, s.end(name))
	}
	if s.provider != nil {
		failures = append(failures, s.provider.server.Close())
	}
	if s.postgres != nil {
		failures = append(failures, s.postgres.Stop())
	}
	return errors.Join(append(failures, os.RemoveAll(s.dir))...)
}

// start starts a variant unless it runs.
func (s *stage) start(ctx context.Context, name string) (*target, error) {
	if t := s.targets[name]; t != nil {
		return t, nil
	}
	v := variantOf(name)
	if v == nil {
		return nil, fmt.Errorf("no variant %q; there are %s", name, strings.Join(variantNames(), ", "))
	}
	s.starts++ // a variant that is started again has a folder, a journal and a database of its own
	run := fmt.Sprintf("%s-%d", name, s.starts)
	if err := os.MkdirAll(filepath.Join(s.dir, run), 0o755); err != nil {
		return nil, err
	}
	fmt.Fprintf(s.progress, "bench: starting %s\n", name)
	t, err := v.start(ctx, s, run)
	if err != nil {
		return nil, fmt.Errorf("%s does not start: %w", name, err)
	}
	if t.head == "" {
		t.head = requestHead("")
	}
	s.targets[name] = t
	return t, nil
}

func (s *stage) end(name string) error {
	t := s.targets[name]
	delete(s.targets, name)
	if t == nil || t.stop == nil {
		return nil
	}
	if err := t.stop(); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

// serving is how both processors say where they listen.
var serving = regexp.MustCompile(`serving Envoy on (\S+),(?: admin on http://(\S+))?`)

// processorChild is a running external processor.
type processorChild struct {
	*program.Child
	grpc, admin string
}

// startProcessor returns when it listens.
func (s *stage) startProcessor(ctx context.Context, name, path string, args ...string) (*processorChild, error) {
	dir := filepath.Join(s.dir, name)
	child, err := program.Start(program.Command{Name: filepath.Base(path), Path: path, Args: args, Dir: dir, Log: filepath.Join(dir, "processor.log"), KillAfter: 40 * time.Second})
	if err != nil {
		return nil, err
	}
	p := &processorChild{Child: child}
	ready, cancel := context.WithTimeout(ctx, 5*time.Minute) // a hundred thousand budgets are applied
	defer cancel()
	err = child.WaitReady(ready, func(context.Context) error {
		said, err := os.ReadFile(child.Log())
		if err != nil {
			return err
		}
		m := serving.FindSubmatch(said)
		if m == nil {
			return errors.New("it has not said where it listens")
		}
		p.grpc, p.admin = string(m[1]), string(m[2])
		return nil
	})
	if err != nil {
		child.Kill()
		return nil, err
	}
	return p, nil
}

func (s *stage) startNothing(ctx context.Context, name string, args ...string) (*processorChild, error) {
	return s.startProcessor(ctx, name, s.nothing, append([]string{"127.0.0.1:0"}, args...)...)
}

// startKeel starts "keel serve" with documents and more budgets, on a database and a journal of its own.
func (s *stage) startKeel(ctx context.Context, name, documents string, more int) (_ *processorChild, err error) {
	if s.postgres == nil {
		s.postgres, err = pgserver.Start(ctx, pgserver.Options{Dir: filepath.Join(s.dir, "postgres"), Progress: s.progress, Durable: true})
		if err != nil {
			return nil, err
		}
	}
	dsn, _, err := s.postgres.NewDatabase(ctx, "bench_"+strings.ReplaceAll(name, "-", "_"))
	if err != nil {
		return nil, err
	}
	dir := filepath.Join(s.dir, name)
	config := filepath.Join(dir, "config.yaml")
	if err := os.WriteFile(config, []byte(documents), 0o600); err != nil {
		return nil, err
	}
	for _, args := range [][]string{{"migrate"}, {"apply", "-f", config}} {
		err := program.Run(ctx, program.Command{Name: "keel " + args[0], Path: s.keel, Args: append(args, "--database", dsn), Log: filepath.Join(dir, args[0]+".log")})
		if err != nil {
			return nil, err
		}
	}
	if more > 0 {
		if err := addBudgets(ctx, dsn, more); err != nil {
			return nil, err
		}
	}
	args := []string{"serve", "--grpc", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--database", dsn, "--journal", filepath.Join(dir, "journal"), "--drain", "2s"}
	if s.pprof {
		args = append(args, "--pprof")
	}
	return s.startProcessor(ctx, name, s.keel, args...)
}

// get reads a page of an admin port.
func get(ctx context.Context, url string) (string, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return "", err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s says %s: %.200s", url, response.Status, text)
	}
	return string(text), err
}

// sumOf adds up the lines of a page of metrics whose name matches: "NAME: N" as
// Envoy writes them, "NAME N" as Prometheus does.
func sumOf(page string, name *regexp.Regexp) (sum float64, found bool) {
	for line := range strings.Lines(page) {
		at := strings.LastIndexByte(strings.TrimSpace(line), ' ')
		if at < 0 || !name.MatchString(strings.TrimSuffix(line[:at], ":")) {
			continue
		}
		if n, err := strconv.ParseFloat(strings.TrimSpace(line[at:]), 64); err == nil {
			sum, found = sum+n, true
		}
	}
	return sum, found
}
