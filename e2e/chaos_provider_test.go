//go:build linux

package e2e

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// providerEnv makes this test binary the provider of the chaos tests: a process
// of its own, which no fault touches. Its log is the truth that the ledger is
// compared with.
const providerEnv = "KEEL_E2E_PROVIDER_LOG"

func init() {
	if log := os.Getenv(providerEnv); log != "" {
		if err := provide(log); err != nil {
			fmt.Fprintln(os.Stderr, "provider:", err)
			os.Exit(1)
		}
		os.Exit(0)
	}
}

// served is a line of the provider's log: first that it bills a call, then, in
// another line, that the whole answer was written.
type served struct {
	ID     string `json:"id"`
	Input  int64  `json:"input,omitempty"`
	Output int64  `json:"output,omitempty"`
	Whole  bool   `json:"whole,omitempty"`
}

// work is what a call asks the provider to do, as JSON in its prompt.
type work struct {
	Input   int64 `json:"input"` // tokens to bill
	Output  int64 `json:"output"`
	DelayMS int64 `json:"delay_ms"` // before the answer and between chunks
}

// provide serves until standard input closes, as it does when the test process ends.
func provide(file string) error {
	log, err := os.OpenFile(file, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return err
	}
	var mu sync.Mutex
	note := func(s served) {
		line, _ := json.Marshal(s) // cannot fail: strings and numbers
		mu.Lock()
		defer mu.Unlock()
		if _, err := log.Write(append(line, '\n')); err != nil {
			fmt.Fprintln(os.Stderr, "provider:", err)
			os.Exit(1) // a provider that forgets is no truth
		}
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { answerCall(w, r, note) }))
	fmt.Println(server.URL)
	io.Copy(io.Discard, os.Stdin)
	return nil
}

func answerCall(w http.ResponseWriter, r *http.Request, note func(served)) {
	var ask struct {
		User, Model string
		Stream      bool
		Messages    []struct{ Content string }
	}
	var do work
	if err := json.NewDecoder(r.Body).Decode(&ask); err != nil || len(ask.Messages) != 1 {
		http.Error(w, "not a call of this test", http.StatusBadRequest)
		return
	}
	if err := json.Unmarshal([]byte(ask.Messages[0].Content), &do); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	note(served{ID: ask.User, Input: do.Input, Output: do.Output})
	pause := time.Duration(do.DelayMS) * time.Millisecond
	usage := fmt.Sprintf(`{"prompt_tokens":%d,"completion_tokens":%d,"total_tokens":%d}`, do.Input, do.Output, do.Input+do.Output)
	head := fmt.Sprintf(`{"id":"chatcmpl-%s","created":1,"model":%q`, ask.User, ask.Model)
	time.Sleep(pause)
	var err error
	if !ask.Stream {
		body := head + `,"object":"chat.completion","choices":[{"index":0,"message":{"role":"assistant","content":"done"},"finish_reason":"stop"}],"usage":` + usage + `}`
		w.Header().Set("content-type", "application/json")
		w.Header().Set("content-length", fmt.Sprint(len(body)))
		_, err = io.WriteString(w, body)
	} else {
		w.Header().Set("content-type", "text/event-stream")
		for i := range 4 {
			tail := `,"object":"chat.completion.chunk","choices":[{"index":0,"delta":{"content":"and on "},"finish_reason":null}]}`
			if i == 3 {
				tail = `,"object":"chat.completion.chunk","choices":[{"index":0,"delta":{},"finish_reason":"stop"}],"usage":` + usage + `}`
			}
			if _, err = io.WriteString(w, "data: "+head+tail+"\n\n"); err != nil {
				break
			}
			w.(http.Flusher).Flush()
			time.Sleep(pause)
		}
		if err == nil {
			_, err = io.WriteString(w, "data: [DONE]\n\n")
		}
	}
	if err == nil {
		note(served{ID: ask.User, Whole: true})
	}
}

// provider is the running process.
type provider struct {
	url, log string
}

func startProvider(t *testing.T) *provider {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	p := &provider{log: filepath.Join(openDir(t), "provider.log")}
	command := exec.Command(self)
	command.Env = append(os.Environ(), providerEnv+"="+p.log)
	command.Stderr = os.Stderr
	stdin, err := command.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := command.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		stdin.Close()
		command.Wait()
	})
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		t.Fatalf("the provider does not say where it listens: %v", err)
	}
	p.url = strings.TrimSpace(line)
	return p
}

// truth reads the log: what was billed for each call id. A call that was served twice is billed twice.
func (p *provider) truth(t *testing.T) map[string]served {
	t.Helper()
	file, err := os.Open(p.log)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	calls := map[string]served{}
	for lines := bufio.NewScanner(file); lines.Scan(); {
		var s served
		if err := json.Unmarshal(lines.Bytes(), &s); err != nil {
			t.Fatalf("%s: %v: %s", p.log, err, lines.Text())
		}
		sum := calls[s.ID]
		calls[s.ID] = served{ID: s.ID, Input: sum.Input + s.Input, Output: sum.Output + s.Output, Whole: sum.Whole || s.Whole}
	}
	return calls
}
