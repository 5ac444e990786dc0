package program

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"sync"
	"syscall"
	"time"
)

// Command says what to run and how.
type Command struct {
	Name string   // what messages call it, for example "envoy"
	Path string   // the program
	Args []string // without the program's name
	Env  []string // nil: the environment of this process
	Dir  string   // working directory; "" is "/", which every user can enter
	Log  string   // file that output is appended to; made if missing
	User *User    // nil: the user of this process

	// StopSignal asks the program to end; default SIGTERM. KillAfter is the
	// time it has for that before SIGKILL; default 10 s.
	StopSignal syscall.Signal
	KillAfter  time.Duration

	// DeathSignal is what the kernel sends when this process is gone (Linux
	// only); default SIGKILL.
	DeathSignal syscall.Signal
}

// Child is a running program. Its methods are safe for concurrent use.
type Child struct {
	command Command
	pid     int
	logFrom int64 // where in the log this run begins

	done   chan struct{} // closed when the program has ended
	result error         // of wait(2), set before done is closed
	err    error         // the same with the last lines of the log

	mu      sync.Mutex
	stopped bool // Stop or Kill was called: the end is no surprise
}

// Start runs a command. The child gets no standard input and a process group
// of its own, so that an interrupt typed at a terminal reaches this process
// alone, which then stops its children in order.
func Start(c Command) (*Child, error) {
	if c.StopSignal == 0 {
		c.StopSignal = syscall.SIGTERM
	}
	if c.KillAfter == 0 {
		c.KillAfter = 10 * time.Second
	}
	if c.DeathSignal == 0 {
		c.DeathSignal = syscall.SIGKILL
	}
	if c.Dir == "" {
		c.Dir = "/"
	}
	log, err := os.OpenFile(c.Log, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("log of %s: %w", c.Name, err)
	}
	defer log.Close()
	end, err := log.Seek(0, 2)
	if err != nil {
		return nil, fmt.Errorf("log of %s: %w", c.Name, err)
	}

	cmd := exec.Command(c.Path, c.Args...)
	cmd.Env, cmd.Dir, cmd.Stdout, cmd.Stderr = c.Env, c.Dir, log, log
	cmd.SysProcAttr = attributes(c)

	child := &Child{command: c, logFrom: end, done: make(chan struct{})}
	started := make(chan error)
	go func() {
		// The death signal comes when this thread ends, not the process: keep
		// it until the child is gone.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		if err == nil {
			child.pid = cmd.Process.Pid
		}
		started <- err
		if err != nil {
			return
		}
		child.result = cmd.Wait()
		// What is left of its group has lost its leader.
		_ = syscall.Kill(-child.pid, syscall.SIGKILL)
		child.err = child.describe(child.result)
		close(child.done)
	}()
	if err := <-started; err != nil {
		return nil, startError(c, err)
	}
	return child, nil
}

// Run runs a command to its end, which comes by force when ctx ends. A status
// other than 0 is an error with the last lines of the output.
func Run(ctx context.Context, c Command) error {
	child, err := Start(c)
	if err != nil {
		return err
	}
	select {
	case <-child.done:
	case <-ctx.Done():
		child.Kill()
		return fmt.Errorf("%s was interrupted: %w", c.Name, context.Cause(ctx))
	}
	if child.result != nil {
		return child.err
	}
	return nil
}

func startError(c Command, err error) error {
	if c.User != nil && (errors.Is(err, syscall.EPERM) || errors.Is(err, syscall.EINVAL)) {
		return fmt.Errorf("can't start %s as user %s: %w; this container may not change users: run keel as a user that is not root", c.Name, c.User.Name, err)
	}
	return fmt.Errorf("can't start %s: %w", c.Name, err)
}

// PID is the process id, which is also the id of its process group.
func (c *Child) PID() int { return c.pid }

// Log is the file that the output goes to.
func (c *Child) Log() string { return c.command.Log }

// Done is closed when the program has ended.
func (c *Child) Done() <-chan struct{} { return c.done }

// Err says how the program ended, with its last words: nil while it runs and
// after an end that was asked for.
func (c *Child) Err() error {
	select {
	case <-c.done:
	default:
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.stopped {
		return nil
	}
	return c.err
}

// Stop asks the program to end and returns when it has, by SIGKILL if it takes
// longer than KillAfter; that is an error. A program that had ended before by
// itself is one too.
func (c *Child) Stop() error {
	if err := c.Err(); err != nil {
		return err
	}
	c.signal(c.command.StopSignal)
	select {
	case <-c.done:
		return nil
	case <-time.After(c.command.KillAfter):
	}
	c.Kill()
	return fmt.Errorf("%s did not end within %v of %v and was killed (its log: %s)", c.command.Name, c.command.KillAfter, c.command.StopSignal, c.command.Log)
}

// Kill ends the program and its process group by SIGKILL and returns when it is gone.
func (c *Child) Kill() {
	c.signal(syscall.SIGKILL)
	<-c.done
}

// Signal sends a signal that means an end, which is then no error.
func (c *Child) Signal(s syscall.Signal) { c.signal(s) }

func (c *Child) signal(s syscall.Signal) {
	c.mu.Lock()
	defer c.mu.Unlock()
	select {
	case <-c.done: // its number may be another's by now
		return
	default:
	}
	c.stopped = true
	if s == syscall.SIGKILL {
		_ = syscall.Kill(-c.pid, s)
	}
	_ = syscall.Kill(c.pid, s)
}

// WaitReady calls probe until it succeeds. It fails when ctx ends, with the
// last error of probe, and as soon as the program has ended.
func (c *Child) WaitReady(ctx context.Context, probe func(context.Context) error) error {
	pause := 5 * time.Millisecond
	for {
		err := probe(ctx)
		select {
		case <-c.done:
			return c.err
		default:
		}
		if err == nil {
			return nil
		}
		select {
		case <-c.done:
			return c.err
		case <-ctx.Done():
			return fmt.Errorf("%s is not ready: %w (%w); its log is %s", c.command.Name, err, context.Cause(ctx), c.command.Log)
		case <-time.After(pause):
		}
		pause = min(pause*3/2, 200*time.Millisecond)
	}
}

// describe turns the result of Wait into an error that needs no look into the log.
func (c *Child) describe(err error) error {
	how := "ended by itself"
	if err != nil {
		how = "ended: " + err.Error()
	}
	tail := Tail(c.command.Log, c.logFrom, 6)
	if tail == "" {
		return fmt.Errorf("%s %s, and wrote nothing (its log: %s)", c.command.Name, how, c.command.Log)
	}
	return fmt.Errorf("%s %s; its last lines (all in %s):\n%s", c.command.Name, how, c.command.Log, tail)
}
