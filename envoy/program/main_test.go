package program

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// The test binary is also the programs that it starts, told by this variable:
// "starter" starts a child of its own, and "sleeper" is one that ignores requests to end.
const roleVariable = "KEEL_TEST_ROLE"

func TestMain(m *testing.M) {
	switch os.Getenv(roleVariable) {
	case "":
		os.Exit(m.Run())
	case "starter":
		// As the unprivileged user if this is root: the death signal has to hold for it.
		c, err := Start(Command{Name: "sleep", Path: "/bin/sleep", Args: []string{"600"}, Log: os.Args[1], User: Unprivileged()})
		if err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		fmt.Println(c.PID())
		time.Sleep(time.Hour)
	}
}

func TestChildDiesWithItsStarter(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for _, signal := range []syscall.Signal{syscall.SIGKILL, syscall.SIGTERM} {
		t.Run(signal.String(), func(t *testing.T) {
			starter := exec.Command(self, filepath.Join(t.TempDir(), "log"))
			starter.Env = append(os.Environ(), roleVariable+"=starter")
			out, err := starter.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := starter.Start(); err != nil {
				t.Fatal(err)
			}
			line := make([]byte, 64)
			n, err := out.Read(line)
			if err != nil {
				t.Fatal(err)
			}
			pid, err := strconv.Atoi(strings.TrimSpace(string(line[:n])))
			if err != nil {
				t.Fatalf("%q", line[:n])
			}
			if !alive(pid) {
				t.Fatal("the child is not there")
			}
			// Threads of the starter come and go: none of that may end the child.
			time.Sleep(200 * time.Millisecond)
			if !alive(pid) {
				t.Fatal("the child ended before its starter")
			}
			starter.Process.Signal(signal)
			starter.Wait()
			for deadline := time.Now().Add(5 * time.Second); alive(pid); time.Sleep(10 * time.Millisecond) {
				if time.Now().After(deadline) {
					syscall.Kill(pid, syscall.SIGKILL)
					t.Fatal("the child outlived its starter")
				}
			}
		})
	}
}

// alive is false for a process that has ended, also before somebody asked for its status.
func alive(pid int) bool {
	if syscall.Kill(pid, 0) != nil {
		return false
	}
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return !os.IsNotExist(err)
	}
	_, rest, _ := strings.Cut(string(stat), ") ")
	return !strings.HasPrefix(rest, "Z")
}
