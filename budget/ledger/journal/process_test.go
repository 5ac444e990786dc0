package journal

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"
	"testing"

	"github.com/google/uuid"
)

// TestMain runs this binary as another process, too: see child.
func TestMain(m *testing.M) {
	if dir := os.Getenv("JOURNAL_TEST_DIR"); dir != "" {
		child(dir, os.Getenv("JOURNAL_TEST_ROLE"))
		return
	}
	os.Exit(m.Run())
}

// child writes records and says of each on its standard output that it was taken, until it is killed or fails.
func child(dir, role string) {
	signal.Ignore(syscall.SIGXFSZ)
	if role == "limited" {
		limit := syscall.Rlimit{Cur: testSegment / 2, Max: testSegment / 2}
		if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &limit); err != nil {
			fmt.Println("error", err)
			return
		}
	}
	f, err := Open(dir, quiet(Options{}))
	if err != nil {
		fmt.Println("error", err)
		return
	}
	j, err := f.Create(uuid.Must(uuid.NewV7()))
	if err != nil {
		fmt.Println("error", err)
		return
	}
	fmt.Println("owner")
	if role == "owner" {
		select {}
	}
	for i := 0; ; i++ {
		at, err := j.Append(fmt.Sprint("org", i%3), 1, []byte(strings.Repeat(fmt.Sprint(i), 50)))
		if err != nil {
			fmt.Println("error", err)
			return
		}
		fmt.Println(at.End)
	}
}

func startChild(t *testing.T, dir, role string) (*exec.Cmd, *bufio.Scanner) {
	t.Helper()
	c := exec.Command(os.Args[0], "-test.run=^$")
	c.Env = append(os.Environ(), "JOURNAL_TEST_DIR="+dir, "JOURNAL_TEST_ROLE="+role)
	out, err := c.StdoutPipe()
	if err == nil {
		err = c.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Process.Kill(); _ = c.Wait() })
	return c, bufio.NewScanner(out)
}

func TestOneOwner(t *testing.T) {
	dir := t.TempDir()
	c, out := startChild(t, dir, "owner")
	if !out.Scan() || out.Text() != "owner" {
		t.Fatalf("child: %s", out.Text())
	}
	var inUse *InUseError
	if _, err := Open(dir, quiet(Options{})); !errors.As(err, &inUse) || inUse.PID != c.Process.Pid || inUse.Host != "here" || inUse.Dir != dir {
		t.Fatalf("%v", err)
	}
	if err := c.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = c.Wait()
	if err := open(t, dir, Options{}).Close(); err != nil {
		t.Fatal(err)
	}
	f := open(t, dir, Options{})
	if _, err := Open(dir, quiet(Options{})); !errors.As(err, &inUse) || inUse.PID != os.Getpid() {
		t.Fatalf("twice in one process: %v", err)
	}
	_ = f.Close()
}

func TestSIGKILLLosesNothing(t *testing.T) {
	for n := range 5 {
		dir := t.TempDir()
		c, out := startChild(t, dir, "writer")
		out.Scan()
		var acknowledged []string
		for out.Scan() {
			if acknowledged = append(acknowledged, out.Text()); len(acknowledged) == 100+400*n {
				if err := c.Process.Kill(); err != nil {
					t.Fatal(err)
				}
			}
		}
		_ = c.Wait()
		left, aside, done := leftOf(t, dir, Options{})
		if aside != nil {
			t.Fatal(aside.Reason)
		}
		all, err := readAll(left.Reader())
		if err != nil || len(all) < len(acknowledged) || len(all) > len(acknowledged)+1 {
			t.Fatalf("%d records, %d acknowledged, the last as %q: %v", len(all), len(acknowledged), acknowledged[len(acknowledged)-1], err)
		}
		for i, said := range acknowledged {
			if fmt.Sprint(all[i].at.End) != said || all[i].payload != strings.Repeat(fmt.Sprint(i), 50) || all[i].org != fmt.Sprint("org", i%3) {
				t.Fatalf("record %d: %+v, acknowledged as %s", i, all[i], said)
			}
		}
		done()
	}
}

func TestNoRoomForFiles(t *testing.T) {
	_, out := startChild(t, t.TempDir(), "limited")
	if out.Scan(); !strings.Contains(out.Text(), "allocate") || !strings.Contains(out.Text(), syscall.EFBIG.Error()) {
		t.Fatalf("under RLIMIT_FSIZE: %q", out.Text())
	}
}
