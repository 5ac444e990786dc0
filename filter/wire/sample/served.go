package sample

import (
	"encoding/json"
	"net/http"
	"sync"
	"time"

	"keel/filter/wire"
)

// Usage is what an answer says was used. Input tokens include cached ones.
type Usage struct {
	InputTokens  int64 `json:"input_tokens"`
	CachedTokens int64 `json:"cached_tokens"`
	OutputTokens int64 `json:"output_tokens"`
}

// How the service of a request ended.
const (
	EndedWhole   = "whole"   // everything was sent
	EndedCut     = "cut"     // the request asked for a cut
	EndedAborted = "aborted" // the client went away
)

// Served is one request that reached the provider.
type Served struct {
	API         wire.API    `json:"api"`
	Model       string      `json:"model"`
	Stream      bool        `json:"stream"`
	Method      string      `json:"method"`
	Path        string      `json:"path"` // with the query
	Host        string      `json:"host"`
	Header      http.Header `json:"header"`
	RequestBody string      `json:"request_body"`
	At          time.Time   `json:"at"`
	Status      int         `json:"status"`
	Usage       *Usage      `json:"usage"` // nil where the answer says none
	Ended       string      `json:"ended"` // "" while it is being served
}

// Served returns what was served, oldest first, as many as Options.Keep.
func (p *Provider) Served() []Served { return p.log.all() }

// log is a ring of what was served.
type log struct {
	keep int
	mu   sync.Mutex
	ring []*Served
	next int // where the next one goes once the ring is full
}

func (l *log) add(s *Served) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.ring) < l.keep {
		l.ring = append(l.ring, s)
		return
	}
	l.ring[l.next] = s
	l.next = (l.next + 1) % l.keep
}

func (l *log) finish(s *Served, ended string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	s.Ended = ended
}

func (l *log) all() []Served {
	l.mu.Lock()
	defer l.mu.Unlock()
	all := make([]Served, 0, len(l.ring))
	for i := range l.ring {
		all = append(all, *l.ring[(l.next+i)%len(l.ring)])
	}
	return all
}

func (l *log) serve(w http.ResponseWriter) {
	w.Header().Set("content-type", "application/json")
	_ = json.NewEncoder(w).Encode(l.all())
}
