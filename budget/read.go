package budget

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/goccy/go-yaml/ast"

	"keel/pricing"
)

const maxSourceBytes = 16 << 20

// ReadDocuments reads config documents from YAML (JSON is YAML too): any
// number of them, divided by ---, or as lists. The filename is only for messages.
//
// It is strict: unknown and repeated fields, values of the wrong type, and
// whatever Compile would refuse in a document by itself are errors. The error joins
// a *SourceError for everything that is wrong in the file.
func ReadDocuments(r io.Reader, filename string) (Documents, error) {
	text, err := io.ReadAll(io.LimitReader(r, maxSourceBytes+1))
	if err != nil {
		return Documents{}, fmt.Errorf("%s: %w", filename, err)
	}
	source := &sourceFile{name: filename}
	if len(text) > maxSourceBytes {
		source.fail(place{}, "more than %d MiB", maxSourceBytes>>20)
		return Documents{}, errors.Join(source.errs...)
	}
	var docs Documents
	seen := make(map[documentKey]int)
	for _, body := range source.parse(string(text)) {
		nodes := []ast.Node{body.node}
		if sequence, ok := body.node.(*ast.SequenceNode); ok {
			nodes = sequence.Values
		}
		for _, node := range nodes {
			r := &documentReader{sourceFile: source, before: body.line, values: make(map[string]value)}
			doc := r.document(node)
			if doc == nil {
				continue
			}
			key := keyOf(doc)
			if line, twice := seen[key]; twice {
				source.fail(r.values["name"].place, "%s is there twice, first on line %d", key, line)
				continue
			}
			seen[key] = r.values["name"].line
			docs.add(doc)
		}
	}
	if len(source.errs) > 0 {
		return Documents{}, errors.Join(source.errs...)
	}
	return docs, nil
}

// A value is where a field's value stands, and its text if it is a scalar.
type value struct {
	place
	text string
}

// documentReader reads one document.
type documentReader struct {
	*sourceFile
	before int              // lines of the file before its YAML document
	values map[string]value // by path
	finish func()           // says what is wrong between fields, once all are read; may be nil
}

func (r *documentReader) at(node ast.Node) place {
	// The token of a block mapping is its first colon; its place is its first key.
	if m, ok := node.(*ast.MappingNode); ok && !m.IsFlowStyle && len(m.Values) > 0 {
		node = m.Values[0].Key
	}
	if token := node.GetToken(); token != nil && token.Position != nil {
		return place{r.before + token.Position.Line, token.Position.Column}
	}
	return place{r.before + 1, 1}
}

// document reads any kind; nil if that failed in a way that leaves nothing to check.
func (r *documentReader) document(node ast.Node) document {
	pairs := r.pairs(node, "")
	if pairs == nil {
		return nil
	}
	start := r.at(node)
	r.values[""] = value{place: start}
	i := slices.IndexFunc(pairs, func(p *ast.MappingValueNode) bool { return keyText(p.Key) == "kind" })
	if i < 0 {
		r.fail(start, "a document needs a kind: %s", kindList())
		return nil
	}
	kind, ok := r.text(pairs[i].Value, "kind")
	if !ok {
		return nil
	}
	doc, known := r.fieldsOf(Kind(kind))
	if doc == nil {
		r.fail(r.at(pairs[i].Value), "unknown kind %q; it is one of %s", kind, kindList())
		return nil
	}
	meta := doc.metadata()
	known = append([]field{
		{"kind", func(ast.Node, string) {}},
		{"org", r.str(&meta.Org)},
		{"name", r.str(&meta.Name)},
	}, known...)
	errorsBefore := len(r.errs)
	r.fields(node, "", known)
	if r.finish != nil {
		r.finish()
	}
	doc.setDefaults()
	if len(r.errs) > errorsBefore {
		return nil // half of a document would give errors that are not there
	}
	faults := doc.check()
	slices.SortStableFunc(faults, func(a, b fault) int {
		x, y := r.find(a.field), r.find(b.field)
		if x.line != y.line {
			return x.line - y.line
		}
		return x.column - y.column
	})
	for _, f := range faults {
		v := r.find(f.field)
		r.failAt(v.place, v.text, f.err)
	}
	return doc
}

// find returns where a field stands, or what it would be a part of.
func (r *documentReader) find(path string) value {
	for {
		if v, ok := r.values[path]; ok {
			return v
		}
		path = path[:max(0, strings.LastIndexAny(path, ".["))]
	}
}

func kindList() string {
	names := make([]string, len(kinds))
	for i, kind := range kinds {
		names[i] = string(kind)
	}
	return strings.Join(names, ", ")
}

// fieldsOf returns a new document and what fills it.
func (r *documentReader) fieldsOf(kind Kind) (document, []field) {
	switch kind {
	case KindBudget:
		b := &Budget{}
		r.finish = func() {
			if _, stated := r.values["limit"]; !stated {
				r.fail(r.values[""].place, "a budget needs a limit, such as 2500 USD")
			}
		}
		return b, []field{
			{"selector", r.labels(&b.Selector)}, {"limit", parsed(r, &b.Limit, pricing.ParseMoney)}, {"window", r.str(&b.Window)}, {"timezone", r.str(&b.Timezone)},
			{"mode", enum(r, &b.Mode)}, {"hold", enum(r, &b.Hold)}, {"per", r.strs(&b.Per)}, {"template", r.boolean(&b.Template)},
			{"offline", enum(r, &b.Offline)}, {"cut", enum(r, &b.Cut)},
			{"offline_debt", parsed(r, &b.OfflineDebt, func(text string) (*pricing.NanoUSD, error) {
				amount, err := pricing.ParseMoney(text)
				return &amount, err
			})},
			{"tiers", objects(r, &b.Tiers, func(t *Tier) []field {
				return []field{{"at", parsed(r, &t.AtPercent, parsePercent)}, {"do", enum(r, &t.Do)}}
			})},
		}
	case KindRoute:
		route := &Route{}
		return route, []field{
			{"models", r.strs(&route.Models)}, {"mode", enum(r, &route.Mode)}, {"min_quality", r.str(&route.MinQuality)},
			{"max_attempts", parsed(r, &route.MaxAttempts, parsePositive)},
			{"targets", objects(r, &route.Targets, func(t *Target) []field {
				return []field{{"provider", r.str(&t.Provider)}, {"model", r.str(&t.Model)}, {"quality", r.str(&t.Quality)},
					{"lacks", enums(r, &t.Lacks)}, {"credential", enum(r, &t.Credential)}}
			})},
		}
	case KindPolicy:
		p := &Policy{}
		return p, []field{{"when", r.str(&p.When)}, {"do", r.object(
			field{"deny", r.str(&p.Do.Deny)},
			field{"constrain", r.object(field{"max_output_tokens", parsed(r, &p.Do.MaxOutputTokens, parsePositive)},
				field{"choices", parsed(r, &p.Do.Choices, parsePositive)}, field{"tools", enum(r, &p.Do.Tools)},
				field{"reasoning_effort", enum(r, &p.Do.Effort)}, field{"service_tier", r.str(&p.Do.ServiceTier)})},
			field{"route", r.str(&p.Do.Route)}, field{"warn", r.str(&p.Do.Warn)}, field{"tag", r.labels(&p.Do.Tag)},
			field{"watch", func(node ast.Node, path string) {
				p.Do.Watch = &Watch{}
				r.object(field{"extend", parsed(r, &p.Do.Watch.Extend, pricing.ParseMoney)}, field{"end", enum(r, &p.Do.Watch.End)})(node, path)
			}},
		)}}
	case KindExchangeRate:
		x := &ExchangeRate{}
		return x, []field{
			{"from", r.str(&x.From)}, {"to", r.str(&x.To)}, {"rate", parsed(r, &x.Rate, pricing.ParseDecimal)},
			{"effective_from", parsed(r, &x.EffectiveFrom, parseDate)},
		}
	case KindPrice:
		p := &Price{}
		return p, r.priceFields(p)
	case KindSubject:
		s := &SubjectRule{}
		return s, []field{{"label", r.str(&s.Label)}, {"from", r.object(
			field{"header", r.str(&s.From.Header)}, field{"claim", r.str(&s.From.Claim)},
			field{"metadata", r.str(&s.From.Metadata)}, field{"peer_san", r.boolean(&s.From.PeerSAN)},
		)}, {"pseudonym", r.boolean(&s.Pseudonym)}}
	case KindSettings:
		s := &Settings{}
		return s, []field{{"unknown", enum(r, &s.Unknown)}, {"malformed", enum(r, &s.Malformed)}, {"offline", enum(r, &s.Offline)}, {"durability", enum(r, &s.Durability)},
			{"max_attempts", parsed(r, &s.MaxAttempts, parsePositive)}, {"unknown_attempt", enum(r, &s.UnknownAttempt)}, {"policies", enum(r, &s.Policies)},
			{"output_floor", parsed(r, &s.OutputFloor, parsePositive)}}
	}
	return nil, nil
}

func parsePercent(text string) (int, error) {
	digits, ok := strings.CutSuffix(text, "%")
	n, err := strconv.Atoi(digits)
	if !ok || err != nil {
		return 0, fmt.Errorf("%q: write a whole percentage such as 75%%", text)
	}
	return n, nil
}

func parsePositive(text string) (int64, error) {
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n < 1 {
		return 0, fmt.Errorf("%q: write a whole number of at least 1", text)
	}
	return n, nil
}

func parseDate(text string) (time.Time, error) {
	for _, format := range []string{time.DateOnly, time.RFC3339Nano} {
		if t, err := time.Parse(format, text); err == nil {
			return t.UTC(), nil
		}
	}
	return time.Time{}, fmt.Errorf("%q: write a date such as 2026-01-31 (UTC) or a time such as 2026-01-31T00:00:00+01:00", text)
}

func sortedFields(known []field) string {
	names := make(map[string]bool, len(known))
	for _, f := range known {
		names[f.name] = true
	}
	return strings.Join(slices.Sorted(maps.Keys(names)), ", ")
}
