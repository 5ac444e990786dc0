package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"keel/budget/ledger/pgserver"
	"keel/filter/wire/sample"
)

// patience bounds every wait of these tests. It is not a measure of speed: the
// machine may be busy.
const patience = 60 * time.Second

// keel is the binary under test, built once.
var keel string

func TestMain(m *testing.M) {
	os.Exit(func() int {
		dir, err := os.MkdirTemp("", "keel-e2e-")
		if err != nil {
			fmt.Fprintln(os.Stderr, "e2e:", err)
			return 1
		}
		defer os.RemoveAll(dir)
		// The binary and what it starts drop root; they must be able to enter.
		if err := os.Chmod(dir, 0o755); err != nil {
			fmt.Fprintln(os.Stderr, "e2e:", err)
			return 1
		}
		keel = filepath.Join(dir, "keel")
		build := exec.Command("go", "build", "-o", keel, "keel/cmd/keel")
		build.Args = append(build.Args[:2], append(raceFlags, build.Args[2:]...)...)
		if out, err := build.CombinedOutput(); err != nil {
			fmt.Fprintf(os.Stderr, "e2e: go build: %v\n%s", err, out)
			return 1
		}
		defer closeShared()
		go lateness.watch()
		return m.Run()
	}())
}

// stack is a running "keel dev" with an upstream that belongs to the test.
type stack struct {
	url, admin, dsn string
	dir             string
	process         *exec.Cmd
	output          *buffer
	upstream        *httptest.Server
	sample          *sample.Provider // nil when the test brought its own upstream
	exited          chan struct{}
	exitErr         error
	there           bool     // its database is, all the time
	explained       sync.Map // by test name
}

type stackOptions struct {
	config   string       // YAML applied over the sample configuration
	upstream http.Handler // in place of the sample provider
	database string       // in place of a fresh database of the shared server
	dir      string       // in place of a fresh one
	args     []string
}

var sharedStack struct {
	sync.Once
	stack *stack
	err   error
}

// shared is one stack for all tests that leave it as they found it. Tests keep
// apart by using a team of their own.
func shared(t *testing.T) *stack {
	t.Helper()
	sharedStack.Do(func() {
		dir, err := os.MkdirTemp("", "keel-e2e-shared-")
		if err != nil {
			sharedStack.err = err
			return
		}
		if sharedStack.err = os.Chmod(dir, 0o755); sharedStack.err != nil {
			return
		}
		sharedStack.stack, sharedStack.err = newStack(t, stackOptions{dir: dir, config: sharedConfig, database: pgserver.ForTestMain()})
		if sharedStack.err == nil {
			sharedStack.stack.there = true
		}
	})
	if sharedStack.err != nil {
		t.Fatal(sharedStack.err)
	}
	return sharedStack.stack
}

func closeShared() {
	if s := sharedStack.stack; s != nil {
		s.stop(syscall.SIGTERM)
		os.RemoveAll(s.dir)
	}
}

// start returns a stack of the test's own, stopped when the test ends.
func start(t *testing.T, o stackOptions) *stack {
	t.Helper()
	if o.dir == "" {
		o.dir = openDir(t)
	}
	there := o.database == ""
	if there {
		o.database = pgserver.ForTest(t)
	}
	s, err := newStack(t, o)
	if err != nil {
		t.Fatal(err)
	}
	s.there = there
	t.Cleanup(func() {
		s.stop(syscall.SIGTERM)
		if t.Failed() {
			said, _, _ := strings.Cut(s.output.String(), "\n\nRequests to paste")
			t.Logf("keel dev said:\n%s", said)
			for _, name := range []string{"keel.log", "envoy/envoy.log"} {
				if log, err := os.ReadFile(filepath.Join(s.dir, name)); err == nil {
					t.Logf("%s:\n%s", name, tail(log, 8000))
				}
			}
		}
	})
	return s
}

// newStack starts the binary and waits for its ready file.
func newStack(t *testing.T, o stackOptions) (*stack, error) {
	s := &stack{dir: o.dir, output: new(buffer), exited: make(chan struct{})}
	handler := o.upstream
	if handler == nil {
		s.sample = sample.New(sample.Options{Keep: 10_000})
		handler = s.sample
	}
	s.upstream = httptest.NewServer(noting(handler))
	readyFile := filepath.Join(o.dir, "test-ready.json")
	if err := os.Remove(readyFile); err != nil && !errors.Is(err, os.ErrNotExist) { // of an earlier stack in the folder
		return nil, err
	}
	args := []string{"dev", "--dir", o.dir, "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--grpc", "127.0.0.1:0", "--ready-file", readyFile}
	for _, provider := range []string{"openai", "anthropic", "google"} {
		args = append(args, "--upstream", provider+"="+s.upstream.URL)
	}
	if o.config != "" {
		file := filepath.Join(o.dir, "test.yaml")
		if err := os.WriteFile(file, []byte(o.config), 0o644); err != nil {
			return nil, err
		}
		args = append(args, "--config", file)
	}
	s.process = exec.Command(keel, append(args, o.args...)...)
	s.process.Stdout, s.process.Stderr = s.output, s.output
	s.process.Env = append(os.Environ(), "KEEL_DATABASE_URL="+o.database, "KEEL_CACHE="+cacheDir(t))
	if err := s.process.Start(); err != nil {
		return nil, err
	}
	go func() {
		s.exitErr = s.process.Wait()
		s.upstream.CloseClientConnections()
		s.upstream.Close()
		close(s.exited)
	}()
	deadline := time.Now().Add(5 * patience) // the first start on a machine downloads
	for {
		text, err := os.ReadFile(readyFile)
		if err == nil {
			var ready struct{ Envoy, Admin, Database string }
			if err := json.Unmarshal(text, &ready); err != nil {
				return nil, err
			}
			s.url, s.admin, s.dsn = ready.Envoy, ready.Admin, ready.Database
			return s, nil
		}
		select {
		case <-s.exited:
			return s, fmt.Errorf("keel dev ended before it was ready: %v\n%s", s.exitErr, s.output)
		case <-time.After(20 * time.Millisecond):
		}
		if time.Now().After(deadline) {
			s.stop(syscall.SIGKILL)
			return nil, fmt.Errorf("keel dev was not ready in time:\n%s", s.output)
		}
	}
}

// stop ends the process and waits for it.
func (s *stack) stop(signal syscall.Signal) error {
	s.process.Process.Signal(signal)
	select {
	case <-s.exited:
	case <-time.After(patience):
		s.process.Process.Kill()
		<-s.exited
		return errors.New("keel dev did not stop")
	}
	return s.exitErr
}

// cacheDir is the checkout's, so that a download happens once a machine.
func cacheDir(t *testing.T) string {
	return filepath.Join(root(t), ".keel", "cache")
}

// root is the top of the checkout.
func root(t *testing.T) string {
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir
		}
		if dir == filepath.Dir(dir) {
			t.Fatal("no go.mod above the test")
		}
		dir = filepath.Dir(dir)
	}
}

// openDir is a t.TempDir that the unprivileged users of Envoy and Postgres can enter.
func openDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "keel-e2e-")
	if err == nil {
		err = os.Chmod(dir, 0o755)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// answer is what the client got.
type answer struct {
	status int
	header http.Header
	body   []byte
	err    error  // of reading the body: nil when it came whole
	key    string // the call's x-sample-key
}

func (a *answer) decision() string { return a.header.Get("x-keel-decision-id") }

// post sends a call and reads all of its answer. Headers are "name: value".
func (s *stack) post(t *testing.T, path, body string, headers ...string) *answer {
	t.Helper()
	for deadline := time.Now().Add(patience); ; {
		lost := lateness.total()
		a := s.do(t, http.MethodPost, path, strings.NewReader(body), headers...)
		if lost = lateness.total() - lost; !s.there || !a.late(lost) || time.Now().After(deadline) {
			return a
		}
		t.Logf("the machine was %v late: calling again, as a client does", lost)
	}
}

func (s *stack) do(t *testing.T, method, path string, body io.Reader, headers ...string) *answer {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, method, s.url+path, body)
	if err != nil {
		t.Fatal(err)
	}
	setHeaders(request, headers)
	key := fmt.Sprintf("call-%d", calls.Add(1))
	request.Header.Set("x-sample-key", key)
	response, err := client.Do(request)
	if err != nil {
		t.Fatalf("%s %s: %v", method, path, err)
	}
	defer response.Body.Close()
	a := &answer{status: response.StatusCode, header: response.Header, key: key}
	a.body, a.err = io.ReadAll(response.Body)
	return a
}

func setHeaders(request *http.Request, headers []string) {
	request.Header.Set("content-type", "application/json")
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		if strings.EqualFold(name, "host") {
			request.Host = value
			continue
		}
		request.Header.Set(name, value)
	}
}

// calls numbers the calls of all tests.
var calls atomic.Int64

// client neither asks for gzip by itself nor reuses connections that a test cut.
var client = &http.Client{Transport: &http.Transport{
	DisableCompression:  true,
	MaxIdleConnsPerHost: 64,
	DialContext:         (&net.Dialer{Timeout: 10 * time.Second}).DialContext,
}}

// record is a row of keel.spend_records as a BI tool reads it: column → value, in text.
type record map[string]string

// record waits until the call's row says how it ended.
func (s *stack) record(t *testing.T, decision string) record {
	t.Helper()
	if decision == "" {
		t.Fatal("the answer has no x-keel-decision-id")
	}
	r := s.recordWhere(t, "decision_id = '"+decision+"' and outcome <> 'open'")
	if _, done := s.explained.LoadOrStore(t.Name(), true); !done {
		s.explains(t, decision) // whatever a test is about, the three questions have answers
	}
	return r
}

// recordWhere waits for exactly one row that condition holds for.
func (s *stack) recordWhere(t *testing.T, condition string) record {
	t.Helper()
	query := "select to_jsonb(r) from keel.spend_records r where " + condition
	var last string
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		rows, err := s.query(t, query)
		if err != nil {
			last = err.Error()
			continue
		}
		if len(rows) == 1 {
			return rows[0]
		}
		last = fmt.Sprintf("%d rows", len(rows))
	}
	t.Fatalf("no row of keel.spend_records where %s: %s", condition, last)
	return nil
}

// query returns rows of one jsonb column, flattened to text.
func (s *stack) query(t *testing.T, sql string) ([]record, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	db, err := pgx.Connect(ctx, s.dsn)
	if err != nil {
		return nil, err
	}
	defer db.Close(ctx)
	rows, err := db.Query(ctx, sql)
	if err != nil {
		return nil, err
	}
	texts, err := pgx.CollectRows(rows, pgx.RowTo[json.RawMessage])
	if err != nil {
		return nil, err
	}
	var records []record
	for _, text := range texts {
		var columns map[string]json.RawMessage
		if err := json.Unmarshal(text, &columns); err != nil {
			return nil, err
		}
		r := make(record, len(columns))
		for name, value := range columns {
			switch {
			case string(value) == "null":
			case value[0] == '"':
				var text string
				if err := json.Unmarshal(value, &text); err != nil {
					return nil, err
				}
				r[name] = text
			default:
				r[name] = string(value)
			}
		}
		records = append(records, r)
	}
	return records, nil
}

func (s *stack) exec(t *testing.T, sql string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	db, err := pgx.Connect(ctx, s.dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close(ctx)
	if _, err := db.Exec(ctx, sql); err != nil {
		t.Fatal(err)
	}
}

// run runs the binary as a person would, against the stack's database.
func (s *stack) run(t *testing.T, stdin string, args ...string) (string, error) {
	t.Helper()
	command := exec.Command(keel, args...)
	command.Env = append(os.Environ(), "KEEL_DATABASE_URL="+s.dsn)
	command.Stdin = strings.NewReader(stdin)
	var stdout, stderr bytes.Buffer
	command.Stdout, command.Stderr = &stdout, &stderr
	err := command.Run()
	return stdout.String() + stderr.String(), err
}

// want compares columns of a record.
func (r record) want(t *testing.T, columns record) {
	t.Helper()
	for name, value := range columns {
		if r[name] != value {
			t.Errorf("%s = %q, want %q", name, r[name], value)
		}
	}
	if t.Failed() {
		t.Logf("the record: %v", r)
	}
}

// buffer is a bytes.Buffer that a process may write while a test reads.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

func tail(text []byte, n int) []byte {
	if len(text) > n {
		return text[len(text)-n:]
	}
	return text
}

func readAll(t *testing.T, r io.Reader) []byte {
	b, err := io.ReadAll(r)
	if err != nil {
		t.Error(err)
	}
	return b
}
