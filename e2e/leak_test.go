package e2e

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/jackc/pgx/v5"
)

// marks are what nobody may find again outside Envoy and the provider.
var marks = map[string]string{
	"a bearer token":             "MARK-bearer-3f1c",
	"an API key":                 "MARK-apikey-77aa",
	"a key in the address":       "MARK-query-90bd",
	"a cookie":                   "MARK-cookie-11ce",
	"a prompt":                   "MARK-prompt-5e5e",
	"a system prompt":            "MARK-system-2b2b",
	"a tool":                     "MARK-tool-8d8d",
	"an answer":                  "MARK-answer-4c4c",
	"an error of a provider":     "MARK-error-6f6f",
	"a header of a provider":     "MARK-header-a1a1",
	"a body that can't be read":  "MARK-broken-c3c3",
	"the name of a wrong member": "MARK-member-d4d4",
}

// Credentials, prompts and answers pass Keel and are kept nowhere: not in its log, nor in Envoy's, not in the journal, not in a row of any
// table, not in metrics, whatever becomes of the call.
func TestNothingIsKept(t *testing.T) {
	t.Parallel()
	upstream := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.Header().Set("content-type", "application/json")
		w.Header().Set("x-provider-secret", marks["a header of a provider"])
		usage := `"usage":{"prompt_tokens":9,"completion_tokens":3,"total_tokens":12}`
		switch r.Header.Get("x-ask") {
		case "error":
			w.WriteHeader(http.StatusUnauthorized)
			fmt.Fprintf(w, `{"error":{"message":"Incorrect API key provided: %s","type":"invalid_request_error","code":%q}}`, marks["an error of a provider"], marks["an error of a provider"])
		case "garbage":
			fmt.Fprintf(w, `{"choices": %s`, marks["an answer"])
		case "stream":
			w.Header().Set("content-type", "text/event-stream")
			fmt.Fprintf(w, "data: {\"id\":\"x\",\"model\":\"gpt-4o-mini\",\"choices\":[{\"index\":0,\"delta\":{\"content\":%q}}]}\n\n", marks["an answer"])
			fmt.Fprintf(w, "data: {\"id\":\"x\",\"model\":\"gpt-4o-mini\",\"choices\":[],%s}\n\ndata: [DONE]\n\n", usage)
		case "cut":
			w.Header().Set("content-type", "text/event-stream")
			fmt.Fprintf(w, "data: {\"id\":\"x\",\"model\":\"gpt-4o-mini\",\"choices\":[{\"index\":0,\"delta\":{\"content\":%q}}]}\n\n", marks["an answer"])
			w.(http.Flusher).Flush()
			panic(http.ErrAbortHandler)
		default:
			fmt.Fprintf(w, `{"id":"x","model":"gpt-4o-mini","choices":[{"index":0,"message":{"role":"assistant","content":%q},"finish_reason":"stop"}],%s}`, marks["an answer"], usage)
		}
	})
	s := start(t, stackOptions{upstream: upstream, config: sharedConfig})
	credentials := []string{"authorization: Bearer " + marks["a bearer token"], "x-api-key: " + marks["an API key"], "x-goog-api-key: " + marks["an API key"], "api-key: " + marks["an API key"], "cookie: session=" + marks["a cookie"]}
	chat := fmt.Sprintf(`{"model":"gpt-4o-mini","max_tokens":20,"messages":[{"role":"system","content":%q},{"role":"user","content":%q}],
		"tools":[{"type":"function","function":{"name":"f","description":%q,"parameters":{"type":"object"}}}]}`, marks["a system prompt"], marks["a prompt"], marks["a tool"])
	gemini := fmt.Sprintf(`{"contents":[{"role":"user","parts":[{"text":%q}]}]}`, marks["a prompt"])
	key := "?key=" + marks["a key in the address"]
	n := 0
	for _, c := range []struct{ path, body, team, ask string }{
		{"/v1/chat/completions", chat, "roomy", ""},
		{"/v1/chat/completions" + key, chat, "roomy", "error"},
		{"/v1/chat/completions", chat, "roomy", "garbage"},
		{"/v1/chat/completions", strings.Replace(chat, "{", `{"stream":true,`, 1), "roomy", "stream"},
		{"/v1/chat/completions", strings.Replace(chat, "{", `{"stream":true,`, 1), "roomy", "cut"},
		{"/v1/chat/completions", chat, "tight", ""},  // no budget
		{"/v1/chat/completions", chat, "guests", ""}, // a policy
		{"/v1/chat/completions", strings.TrimSuffix(chat, "}") + `"` + marks["a body that can't be read"], "roomy", ""},
		{"/v1/chat/completions", `{"model":"gpt-4o-mini","messages":` + marks["a body that can't be read"], "roomy", ""},
		{"/v1/chat/completions", `{"model":"gpt-4o-mini","max_tokens":"` + marks["a body that can't be read"] + `","messages":[]}`, "roomy", ""},
		{"/v1/chat/completions", strings.Replace(chat, "{", `{"`+marks["the name of a wrong member"]+`":1,"`+marks["the name of a wrong member"]+`":2,`, 1), "roomy", ""},
		{"/v1/chat/completions", strings.Replace(chat, marks["a prompt"], marks["a prompt"]+"\xff", 1), "roomy", ""},
		{"/v1beta/models/gemini-2.5-flash:generateContent" + key, gemini, "roomy", ""},
		{"/v1beta/models/gemini-2.5-flash:generateContent" + key, gemini, "roomy", "error"},
		{"/v1/messages", fmt.Sprintf(`{"model":"claude-sonnet-4-5","max_tokens":20,"system":%q,"messages":[{"role":"user","content":%q}]}`, marks["a system prompt"], marks["a prompt"]), "roomy", "error"},
		{"/v1/nothing-known" + key, chat, "roomy", ""},
		{"/nothing/at/all" + key, chat, "roomy", ""},
	} {
		headers := append(append([]string(nil), credentials...), "x-keel-team: "+c.team, "x-ask: "+c.ask)
		response, err := func() (*http.Response, error) {
			request, err := http.NewRequest(http.MethodPost, s.url+c.path, strings.NewReader(c.body))
			if err != nil {
				t.Fatal(err)
			}
			setHeaders(request, headers)
			return client.Do(request)
		}()
		if err != nil {
			t.Fatalf("%s: %v", c.path, err)
		}
		_, _ = io.Copy(io.Discard, response.Body)
		response.Body.Close()
		if id := response.Header.Get("x-keel-decision-id"); id != "" {
			s.recordWhere(t, "decision_id = '"+id+"' and outcome <> 'open'")
			n++
		}
	}
	if n < 10 {
		t.Errorf("only %d calls have a decision", n)
	}
	places := map[string][]byte{"what keel dev said": []byte(s.output.String())}
	response, err := client.Get(s.admin + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	places["metrics"] = readAll(t, response.Body)
	response.Body.Close()
	rows := s.dump(t, places)
	if err := s.stop(syscall.SIGTERM); err != nil {
		t.Error(err)
	}
	logs, journals := 0, 0
	err = filepath.WalkDir(s.dir, func(name string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		text, err := os.ReadFile(name)
		places[name] = text
		if strings.HasSuffix(name, ".log") {
			logs++
		}
		if strings.Contains(name, "journal") && bytes.Contains(text, []byte("gpt-4o-mini")) {
			journals++
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if logs == 0 || journals == 0 || rows < 50 || len(places["metrics"]) == 0 {
		t.Errorf("too little was looked at: %d logs, %d journals, %d rows", logs, journals, rows)
	}
	for where, text := range places {
		for what, mark := range marks {
			if i := bytes.Index(text, []byte(mark)); i >= 0 {
				t.Errorf("%s is in %s: …%s…", what, where, text[max(0, i-80):min(len(text), i+len(mark)+20)])
			}
		}
	}
}

// dump adds every row of every table of schema keel to places, and returns how many there are.
func (s *stack) dump(t *testing.T, places map[string][]byte) (n int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	db, err := pgx.Connect(ctx, s.dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close(ctx)
	tables, err := db.Query(ctx, "select relname from pg_class where relnamespace = 'keel'::regnamespace and relkind in ('r', 'p') and not relispartition")
	if err != nil {
		t.Fatal(err)
	}
	names, err := pgx.CollectRows(tables, pgx.RowTo[string])
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		rows, err := db.Query(ctx, "select to_jsonb(t)::text from keel."+name+" t")
		if err != nil {
			t.Fatal(err)
		}
		texts, err := pgx.CollectRows(rows, pgx.RowTo[string])
		if err != nil {
			t.Fatal(err)
		}
		places["table "+name] = []byte(strings.Join(texts, "\n"))
		n += len(texts)
	}
	return n
}
