package program

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

func shell(t *testing.T, script string) Command {
	t.Helper()
	return Command{Name: "thing", Path: "/bin/sh", Args: []string{"-c", script}, Log: filepath.Join(t.TempDir(), "log")}
}

func mustStart(t *testing.T, c Command) *Child {
	t.Helper()
	child, err := Start(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(child.Kill)
	return child
}

func TestEarlyDeathTellsLastLines(t *testing.T) {
	t.Parallel()
	c := shell(t, "echo one; echo; echo 'two: bad flag' >&2; exit 3")
	if err := os.WriteFile(c.Log, []byte("of an earlier run\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	child := mustStart(t, c)
	err := child.WaitReady(context.Background(), func(context.Context) error { return errors.New("not yet") })
	for _, want := range []string{"thing ended: exit status 3", "one\ntwo: bad flag", c.Log} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v does not say %q", err, want)
		}
	}
	if strings.Contains(err.Error(), "earlier run") {
		t.Errorf("error tells of another run: %v", err)
	}
	if err := child.Stop(); err == nil {
		t.Error("Stop of a program that died says nothing")
	}
}

func TestWaitReady(t *testing.T) {
	t.Parallel()
	child := mustStart(t, shell(t, "sleep 600"))
	n := 0
	if err := child.WaitReady(context.Background(), func(context.Context) error {
		if n++; n < 3 {
			return errors.New("not yet")
		}
		return nil
	}); err != nil || n != 3 {
		t.Errorf("%d probes, %v", n, err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	err := child.WaitReady(ctx, func(context.Context) error { return errors.New("connection refused") })
	if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "thing is not ready: connection refused") {
		t.Error(err)
	}
}

func TestStop(t *testing.T) {
	t.Parallel()
	t.Run("by the signal asked for", func(t *testing.T) {
		t.Parallel()
		c := shell(t, `trap 'echo fast; exit 0' INT; echo up; while :; do sleep 0.05; done`)
		c.StopSignal = syscall.SIGINT
		child := mustStart(t, c)
		waitFor(t, c.Log, "up")
		if err := child.Stop(); err != nil {
			t.Error(err)
		}
		waitFor(t, c.Log, "fast")
		if err := child.Err(); err != nil {
			t.Errorf("an end that was asked for is an error: %v", err)
		}
	})
	t.Run("by force, with its own children", func(t *testing.T) {
		t.Parallel()
		c := shell(t, `trap '' TERM; sleep 600 & echo child $!; while :; do sleep 0.05; done`)
		c.KillAfter = 100 * time.Millisecond
		child := mustStart(t, c)
		said := waitFor(t, c.Log, "child ")
		if err := child.Stop(); err == nil || !strings.Contains(err.Error(), "was killed") {
			t.Error(err)
		}
		var grandchild int
		if _, err := fmt.Sscanf(said, "child %d", &grandchild); err != nil {
			t.Fatal(err)
		}
		for deadline := time.Now().Add(5 * time.Second); alive(grandchild); time.Sleep(10 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatal("a child of the child is left")
			}
		}
	})
	t.Run("twice", func(t *testing.T) {
		t.Parallel()
		child := mustStart(t, shell(t, "sleep 600"))
		for range 2 {
			if err := child.Stop(); err != nil {
				t.Error(err)
			}
		}
	})
}

func waitFor(t *testing.T, file, what string) string {
	t.Helper()
	for deadline := time.Now().Add(5 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		text, _ := os.ReadFile(file)
		if strings.Contains(string(text), what) && strings.HasSuffix(string(text), "\n") {
			return string(text)
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s holds %q, not %q", file, text, what)
		}
	}
}

func TestProcessGroupIsItsOwn(t *testing.T) {
	t.Parallel()
	child := mustStart(t, shell(t, "sleep 600"))
	group, err := syscall.Getpgid(child.PID())
	if err != nil || group != child.PID() || group == syscall.Getpgrp() {
		t.Errorf("group %d of process %d, ours is %d: %v", group, child.PID(), syscall.Getpgrp(), err)
	}
}

func TestRun(t *testing.T) {
	t.Parallel()
	if err := Run(context.Background(), shell(t, "echo fine")); err != nil {
		t.Error(err)
	}
	if err := Run(context.Background(), shell(t, "echo disk on fire; false")); err == nil || !strings.Contains(err.Error(), "disk on fire") {
		t.Error(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	if err := Run(ctx, shell(t, "sleep 600")); !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
	if _, err := Start(Command{Name: "thing", Path: "/nowhere/thing", Log: filepath.Join(t.TempDir(), "log")}); err == nil || !strings.Contains(err.Error(), "can't start thing") {
		t.Error(err)
	}
}

func TestUserOfChild(t *testing.T) {
	t.Parallel()
	u := Unprivileged()
	if os.Geteuid() != 0 {
		if u != nil {
			t.Errorf("a change to user %s, which is not allowed", u.Name)
		}
		t.Skip("this process is not root")
	}
	c := shell(t, "id -u; id -G; cat /etc/shadow")
	c.User = u
	if err := Run(context.Background(), c); err == nil {
		t.Error("the child could read what is root's")
	}
	text, _ := os.ReadFile(c.Log)
	if want := fmt.Sprintf("%d\n%d\n", u.UID, u.GID); !strings.HasPrefix(string(text), want) {
		t.Errorf("user and groups %q, want %q", text, want)
	}
}
