package doctor

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
)

// asked is a call that is asked for and not made. It has no credential: where no filter sees it, a provider refuses it.
const asked = `{"model": "gpt-4o-mini", "max_tokens": 1, "messages": [{"role": "user", "content": "keel doctor"}]}`

// askForCall sends it the way that applications' calls go. What comes back says whether the filter is on that way and was given the body.
func askForCall(ctx context.Context, at string) Finding {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, at+"/v1/chat/completions", strings.NewReader(asked))
	if err != nil {
		return route.wrong(Away, at, "%v", err)
	}
	request.Header.Set("content-type", "application/json")
	request.Header.Set("x-keel-dry-run", "true")
	response, err := client.Do(request)
	if err != nil {
		return route.wrong(Away, at, "%v", err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, 1<<20))
	if err != nil {
		return route.wrong(Away, at, "%v", err)
	}
	var answer struct {
		DecisionID string `json:"decision_id"`
		Action     string `json:"action"`
		Requested  struct{ Model string }
	}
	switch err := json.Unmarshal(body, &answer); {
	case response.StatusCode == http.StatusOK && err == nil && answer.DecisionID != "" && answer.Requested.Model == "gpt-4o-mini":
		return route.ok(at, "a call that was asked for was seen with its body, and got decision %q", answer.Action)
	case response.Header.Get("x-keel-decision-id") != "":
		return route.wrong(Error, at, "a call that was asked for was seen, but not as it was sent: %s: %s", response.Status, firstLine(body))
	}
	return route.wrong(Error, at, "a call that was asked for was answered by somebody else: %s: %s", response.Status, firstLine(body))
}

func firstLine(text []byte) string {
	line, _, _ := strings.Cut(strings.TrimSpace(string(text)), "\n")
	if len(line) > 120 {
		line = line[:120] + "…"
	}
	return fmt.Sprintf("%q", line)
}
