package pages

import (
	"bytes"
	"context"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"errors"
	"fmt"
	"html/template"
	"io/fs"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"keel/budget"
)

// Root is where the pages are.
const Root = "/review/"

// Viewer is who looks at a page.
type Viewer struct {
	Name string   // "" where nobody had to sign in
	Orgs []string // that they may see; "*" is all

	SignOut string // address to post to; "" where there is nothing to sign out of
}

// May says whether the viewer may see an org.
func (v *Viewer) May(org string) bool {
	return slices.Contains(v.Orgs, org) || slices.Contains(v.Orgs, "*")
}

// SignIn finds out who looks. It answers a request itself where nobody is signed in, and returns nil. One
// that is also an http.Handler is asked what is below Root + "sign-in/".
type SignIn interface {
	Viewer(w http.ResponseWriter, r *http.Request) *Viewer
}

// Options make a Server.
type Options struct {
	Database string // DSN
	SignIn   SignIn
	Version  string // of the binary, at the foot of pages
	Logger   *slog.Logger
}

// Server answers what is below Root. It is safe for concurrent use.
type Server struct {
	pool   *pgxpool.Pool
	o      Options
	mux    *http.ServeMux
	pages  map[string]*template.Template
	style  []byte
	styled string // address of the style sheet: another one for another sheet
}

//go:embed templates/*.html style.css
var files embed.FS

const (
	connections      = 4
	statementTimeout = 10 * time.Second
)

// New connects lazily: a database that is away is said on the page.
func New(o Options) (*Server, error) {
	if o.SignIn == nil {
		return nil, errors.New("review pages: no sign-in")
	}
	config, err := pgxpool.ParseConfig(o.Database)
	if err != nil {
		return nil, fmt.Errorf("review pages: database address: %w", err)
	}
	config.MaxConns = connections
	if config.ConnConfig.ConnectTimeout == 0 {
		config.ConnConfig.ConnectTimeout = 5 * time.Second
	}
	config.ConnConfig.RuntimeParams["application_name"] = "keel review"
	config.ConnConfig.RuntimeParams["statement_timeout"] = strconv.FormatInt(statementTimeout.Milliseconds(), 10)
	config.ConnConfig.RuntimeParams["default_transaction_read_only"] = "on"
	s := &Server{o: o, mux: http.NewServeMux(), pages: make(map[string]*template.Template)}
	if s.style, err = files.ReadFile("style.css"); err != nil {
		return nil, err
	}
	sum := sha256.Sum256(s.style)
	s.styled = Root + "style-" + hex.EncodeToString(sum[:4]) + ".css"
	if err := s.parse(); err != nil {
		return nil, err
	}
	if s.pool, err = pgxpool.NewWithConfig(context.Background(), config); err != nil {
		return nil, fmt.Errorf("review pages: connection pool: %w", err)
	}
	s.mux.HandleFunc("GET "+s.styled, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("content-type", "text/css; charset=utf-8")
		w.Header().Set("cache-control", "public, max-age=31536000, immutable")
		_, _ = w.Write(s.style)
	})
	s.mux.HandleFunc("GET "+Root+"{$}", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, Root+"budgets", http.StatusSeeOther)
	})
	if h, ok := o.SignIn.(http.Handler); ok {
		s.mux.Handle(Root+"sign-in/", h)
	}
	s.page("budgets", "Budgets now", readBudgets)
	s.page("statement", "Statement", readStatement)
	s.page("pressure", "Routing pressure", readPressure)
	s.page("decisions", "Decisions", readDecisions)
	s.page("decisions/{id}", "Decision", readDecision)
	s.page("history", "Configuration history", readHistory)
	s.page("reconciliation", "Reconciliation", readReconciliation)
	s.page("verification", "Verification", readVerification)
	return s, nil
}

// Close disconnects.
func (s *Server) Close() { s.pool.Close() }

// ServeHTTP implements http.Handler.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("content-security-policy", "default-src 'none'; style-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'")
	h.Set("x-content-type-options", "nosniff")
	h.Set("referrer-policy", "same-origin")
	s.mux.ServeHTTP(w, r)
}

// request is what a page is asked.
type request struct {
	org    string
	query  url.Values
	path   func(string) string
	viewer *Viewer
	now    time.Time // by the database's clock
}

// address is where a page of the same org is, with more parameters in pairs.
func (r *request) address(page string, pairs ...string) string {
	q := url.Values{"org": {r.org}}
	for i := 0; i+1 < len(pairs); i += 2 {
		if pairs[i+1] != "" {
			q.Set(pairs[i], pairs[i+1])
		}
	}
	return Root + page + "?" + q.Encode()
}

// wrong is a mistake in the address of a page, or something that is not there.
type wrong struct {
	status int
	text   string
}

func (w *wrong) Error() string { return w.text }

func badRequest(format string, args ...any) error {
	return &wrong{http.StatusBadRequest, fmt.Sprintf(format, args...)}
}

var errNotThere = &wrong{http.StatusNotFound, "There is no such page, or it is not yours to see."}

// sheet is a page with all around it.
type sheet struct {
	Title, Page string
	Org         string
	Orgs        []string
	Viewer      *Viewer
	At          time.Time
	Style       string
	Version     string
	Problem     string
	Body        any
}

// page adds a page: read fills its template, named as the first word of the path.
func (s *Server) page(path, title string, read func(context.Context, pgx.Tx, *request) (any, error)) {
	section, rest, _ := strings.Cut(path, "/")
	name := section
	if rest != "" {
		name = strings.TrimSuffix(section, "s") // decisions/{id} is a decision
	}
	s.mux.HandleFunc("GET "+Root+path, func(w http.ResponseWriter, r *http.Request) {
		viewer := s.o.SignIn.Viewer(w, r)
		if viewer == nil {
			return
		}
		w.Header().Set("cache-control", "private, no-store")
		out := &sheet{Title: title, Page: section, Viewer: viewer, Style: s.styled, Version: s.o.Version}
		err := s.read(r, out, read)
		status, drawn := http.StatusOK, name
		if err != nil {
			drawn = "problem"
			status, out.Problem = s.explain(r, err)
			out.Title, out.Body = http.StatusText(status), nil
		}
		s.render(w, status, drawn, out)
	})
}

// read opens the one snapshot that a page is made of.
func (s *Server) read(r *http.Request, out *sheet, read func(context.Context, pgx.Tx, *request) (any, error)) error {
	return pgx.BeginTxFunc(r.Context(), s.pool, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly}, func(tx pgx.Tx) (err error) {
		if err := tx.QueryRow(r.Context(), "select now()").Scan(&out.At); err != nil {
			return err
		}
		out.At = out.At.UTC()
		if out.Orgs, err = orgs(r.Context(), tx, out.Viewer); err != nil {
			return err
		}
		if len(out.Orgs) == 0 {
			return &wrong{http.StatusForbidden, "You may see no organisation. Whoever runs Keel says in the file of --sign-in what your groups may see."}
		}
		q := &request{query: r.URL.Query(), path: r.PathValue, viewer: out.Viewer, now: out.At, org: r.URL.Query().Get("org")}
		switch {
		case q.org == "" && slices.Contains(out.Orgs, budget.DefaultOrg):
			q.org = budget.DefaultOrg
		case q.org == "" && len(out.Orgs) > 0:
			q.org = out.Orgs[0]
		}
		if !slices.Contains(out.Orgs, q.org) {
			return errNotThere
		}
		out.Org = q.org
		out.Body, err = read(r.Context(), tx, q)
		return err
	})
}

// orgs are those that exist and the viewer may see.
func orgs(ctx context.Context, tx pgx.Tx, viewer *Viewer) ([]string, error) {
	rows, err := tx.Query(ctx, "select org from (select org from keel.config_revisions union select org from keel.epochs union select $1) x order by org", budget.DefaultOrg)
	if err != nil {
		return nil, err
	}
	all, err := pgx.CollectRows(rows, pgx.RowTo[string])
	return slices.DeleteFunc(all, func(org string) bool { return !viewer.May(org) }), err
}

// explain says what went wrong to whoever looks; the rest is in the log.
func (s *Server) explain(r *http.Request, err error) (status int, text string) {
	var w *wrong
	var pg *pgconn.PgError
	switch {
	case errors.As(err, &w):
		return w.status, w.text
	case errors.As(err, &pg) && pg.Code == "57014":
		return http.StatusServiceUnavailable, fmt.Sprintf("The database took longer than %s. Ask for less: a shorter time, or fewer filters.", statementTimeout)
	case r.Context().Err() != nil:
		return http.StatusServiceUnavailable, "The request ended before the page was read."
	case errors.As(err, &pg):
		s.o.Logger.Error("review page failed", "path", r.URL.Path, "error", err)
		return http.StatusInternalServerError, "The database refused to answer (" + pg.Code + "). The processor's log has the details."
	}
	s.o.Logger.Warn("review page: no database", "path", r.URL.Path, "error", err)
	return http.StatusServiceUnavailable, "The database can't be reached. Calls go on as the offline setting says; this page comes back with the database."
}

func (s *Server) render(w http.ResponseWriter, status int, name string, out *sheet) {
	var page bytes.Buffer
	if err := s.pages[name].ExecuteTemplate(&page, "layout", out); err != nil {
		s.o.Logger.Error("review page can't be drawn", "page", name, "error", err)
		http.Error(w, "the page can't be drawn; the processor's log says why", http.StatusInternalServerError)
		return
	}
	w.Header().Set("content-type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	_, _ = w.Write(page.Bytes())
}

// parse makes a template of each file, with the layout around it.
func (s *Server) parse() error {
	names, err := fs.Glob(files, "templates/*.html")
	if err != nil {
		return err
	}
	layout, err := template.New("layout").Funcs(functions).ParseFS(files, "templates/layout.html", "templates/filters.html", "templates/turn.html")
	if err != nil {
		return err
	}
	for _, name := range names {
		page, err := template.Must(layout.Clone()).ParseFS(files, name)
		if err != nil {
			return err
		}
		s.pages[name[len("templates/"):len(name)-len(".html")]] = page
	}
	return nil
}
