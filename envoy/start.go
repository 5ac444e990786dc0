package envoy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"time"

	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"

	"keel/envoy/program"
)

// Options say what to start. Dir and Config are required.
type Options struct {
	Dir      string    // for the configuration and the log; made if missing. See Envoy.Dir
	Cache    string    // for the program; see program.CacheDir
	Progress io.Writer // gets a line for what takes long; may be nil
	Config   Config
	Amend    func(*bootstrapv3.Bootstrap) // changes what Config made, before Envoy checks it; may be nil

	Concurrency int           // worker threads; 0 is one for each CPU
	LogLevel    string        // of Envoy: trace, debug, info, warning (default), error, critical, off
	ReadyWithin time.Duration // default 30 s
}

// Envoy is a running Envoy. Its methods are safe for concurrent use.
type Envoy struct {
	child  *program.Child
	dir    string
	admin  string
	listen string
	died   chan error
}

// Start installs Envoy if need be, has it check the configuration, starts it,
// as an unprivileged user if this process is root, and returns when it takes
// calls. When ctx ends before that, nothing is left running; afterwards ctx does not matter.
func Start(ctx context.Context, o Options) (*Envoy, error) {
	if o.Dir == "" {
		return nil, errors.New("no folder for Envoy was named")
	}
	c, err := o.Config.complete()
	if err != nil {
		return nil, err
	}
	for _, address := range []string{c.Listen, c.Admin} {
		if err := program.CheckFree(address); err != nil {
			return nil, fmt.Errorf("envoy: %w", err)
		}
	}
	user := program.Unprivileged()
	path, err := install(ctx, o.Cache, o.Progress, user)
	if err != nil {
		return nil, err
	}
	dir, err := program.Home(o.Dir, user)
	if err != nil {
		return nil, fmt.Errorf("folder of envoy: %w", err)
	}
	if c.CAFile, err = readableCA(c.caFile(), dir, user); err != nil {
		return nil, err
	}
	config, err := writeConfig(c, o.Amend, dir)
	if err != nil {
		return nil, err
	}
	command := program.Command{
		Name: "envoy", Path: path, User: user, Dir: dir, Log: filepath.Join(dir, "envoy.log"),
		// The rest of hot restart is of no use to a child that ends with its
		// starter, and its shared memory has a name that two Envoys would fight over.
		Args: []string{"--config-path", config, "--disable-hot-restart"},
	}
	if err := validate(ctx, command); err != nil {
		return nil, err
	}
	level := o.LogLevel
	if level == "" {
		level = "warning"
	}
	adminFile := filepath.Join(dir, "admin.address") // Envoy writes here where it listens
	if err := os.Remove(adminFile); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	command.Args = append(command.Args, "--log-level", level, "--admin-address-path", adminFile)
	if o.Concurrency > 0 {
		command.Args = append(command.Args, "--concurrency", strconv.Itoa(o.Concurrency))
	}
	child, err := program.Start(command)
	if err != nil {
		return nil, err
	}
	e := &Envoy{child: child, dir: dir, died: make(chan error, 1)}
	within := o.ReadyWithin
	if within == 0 {
		within = 30 * time.Second
	}
	ready, cancel := context.WithTimeoutCause(ctx, within, fmt.Errorf("%v are over", within))
	defer cancel()
	if err := child.WaitReady(ready, func(ctx context.Context) error { return e.live(ctx, adminFile) }); err != nil {
		child.Kill()
		return nil, err
	}
	go func() {
		<-child.Done()
		if err := child.Err(); err != nil {
			e.died <- err
		}
	}()
	return e, nil
}

// readableCA is a file of certificates that the user can read: a copy if need be.
func readableCA(file, dir string, u *program.User) (string, error) {
	file, err := filepath.Abs(file) // Envoy has another working directory
	if err != nil {
		return "", err
	}
	if u.CanRead(file) {
		return file, nil
	}
	text, err := os.ReadFile(file)
	if errors.Is(err, os.ErrNotExist) {
		return "", fmt.Errorf("no certificates to check providers against: %w: install the package ca-certificates, or name a file in SSL_CERT_FILE", err)
	}
	if err != nil {
		return "", err
	}
	copied := filepath.Join(dir, "ca.pem")
	return copied, writeReadable(copied, text)
}

func writeConfig(c Config, amend func(*bootstrapv3.Bootstrap), dir string) (string, error) {
	bootstrap, err := Bootstrap(c)
	if err != nil {
		return "", err
	}
	if amend != nil {
		amend(bootstrap)
	}
	text, err := JSON(bootstrap)
	if err != nil {
		return "", err
	}
	file := filepath.Join(dir, "envoy.json")
	return file, writeReadable(file, text)
}

// writeReadable writes a file that every user may read who can enter its folder.
func writeReadable(file string, text []byte) error {
	if err := os.WriteFile(file, text, 0o644); err != nil {
		return err
	}
	return os.Chmod(file, 0o644) // whatever the umask made of it
}

// refusal is how Envoy logs what it finds wrong with its configuration.
var refusal = regexp.MustCompile(`(?m)error initializing config[^:]*: *'?[^ ]* ?(.*)$`)

// validate has Envoy check its configuration without listening.
func validate(ctx context.Context, c program.Command) error {
	c.Name = "envoy --mode validate"
	c.Log = filepath.Join(filepath.Dir(c.Log), "validate.log")
	c.Args = append([]string{"--mode", "validate", "--log-level", "warning"}, c.Args...)
	if err := os.Remove(c.Log); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	err := program.Run(ctx, c)
	if err == nil || ctx.Err() != nil {
		return err
	}
	if m := refusal.FindStringSubmatch(program.Tail(c.Log, 0, 100)); m != nil {
		return fmt.Errorf("envoy refuses its configuration: %s", m[0])
	}
	return err
}

// live says whether Envoy takes calls, and learns where it listens.
func (e *Envoy) live(ctx context.Context, adminFile string) error {
	text, err := os.ReadFile(adminFile)
	if err != nil {
		return err
	}
	admin, err := parseAddress(string(text))
	if err != nil {
		return err
	}
	e.admin = admin.String()
	if _, err := e.ask(ctx, http.MethodGet, "/ready"); err != nil {
		return err
	}
	e.listen, err = e.listener(ctx)
	return err
}

// Listen is the address that applications on this machine call.
func (e *Envoy) Listen() string { return e.listen }

// Admin is the address of Envoy's admin interface.
func (e *Envoy) Admin() string { return e.admin }

// Dir is where envoy.json and envoy.log are: Options.Dir, or a folder below
// /var/tmp if this process is root and Envoy's user can't enter it (see program.Home).
func (e *Envoy) Dir() string { return e.dir }

// PID is Envoy's process id.
func (e *Envoy) PID() int { return e.child.PID() }

// Died gives an error if Envoy ends without having been told to.
func (e *Envoy) Died() <-chan error { return e.died }

// Stop ends Envoy, cutting the calls in flight. See Drain.
func (e *Envoy) Stop() error { return e.child.Stop() }
