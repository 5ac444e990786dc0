package pages

import (
	"bytes"
	"context"
	"encoding/json"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
)

// history is changes of the configuration, the newest first.
type history struct {
	Filters []filter
	Changes []change
	Newest  string
	Older   string
}

// change is one version of a document.
type change struct {
	Revision, Version int64
	Kind, Name, Op    string
	At                time.Time
	By                string
	Fields            []difference
}

// difference is a field before and after; "" where there was none.
type difference struct {
	Name, Before, After string
	Changed             bool
}

// field is a field of a document.
type field struct{ Name, Value string }

var kinds = []string{"Budget", "Route", "Policy", "Price", "ExchangeRate", "Subject", "Settings"}

func readHistory(ctx context.Context, tx pgx.Tx, q *request) (any, error) {
	kind, name := q.query.Get("kind"), strings.TrimSpace(q.query.Get("name"))
	h := &history{Filters: []filter{{Name: "kind", Label: "Kind", Value: kind, Options: kinds}, {Name: "name", Label: "Name", Value: name}}}
	var before *int64
	if text := q.query.Get("before"); text != "" {
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			return nil, badRequest("The address names no revision. Begin at the newest.")
		}
		before, h.Newest = &n, q.address("history", "kind", kind, "name", name)
	}
	rows, err := tx.Query(ctx, `
select revision, version, kind, name, op, changed_at, changed_by, before, after from keel.config_versions
where org = $1 and ($2 = '' or kind = $2) and ($3 = '' or name = $3) and ($4::bigint is null or revision < $4)
order by revision desc limit $5`, q.org, kind, name, before, pageSize+1)
	if err != nil {
		return nil, err
	}
	h.Changes, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (c change, err error) {
		var before, after []byte
		if err := row.Scan(&c.Revision, &c.Version, &c.Kind, &c.Name, &c.Op, &c.At, &c.By, &before, &after); err != nil {
			return c, err
		}
		c.Fields, err = differences(before, after)
		return c, err
	})
	if err != nil {
		return nil, err
	}
	if len(h.Changes) > pageSize {
		h.Changes = h.Changes[:pageSize]
		h.Older = q.address("history", "kind", kind, "name", name, "before", strconv.FormatInt(h.Changes[pageSize-1].Revision, 10))
	}
	return h, nil
}

// differences are the fields of two documents: of a change those that differ, of a new or a deleted one those that say something.
func differences(before, after []byte) ([]difference, error) {
	old, err := fields(before)
	if err != nil {
		return nil, err
	}
	next, err := fields(after)
	if err != nil {
		return nil, err
	}
	all := make(map[string]*difference)
	for _, f := range old {
		all[f.Name] = &difference{Name: f.Name, Before: f.Value}
	}
	for _, f := range next {
		if all[f.Name] == nil {
			all[f.Name] = &difference{Name: f.Name}
		}
		all[f.Name].After = f.Value
	}
	var out []difference
	for _, name := range slices.Sorted(maps.Keys(all)) {
		if d := all[name]; d.Before != d.After {
			out = append(out, *d)
		}
	}
	return out, nil
}

// fields are the columns of a document that say something, by name, each as one line.
func fields(document []byte) (out []field, err error) {
	if len(document) == 0 {
		return nil, nil
	}
	var columns map[string]json.RawMessage
	if err := json.Unmarshal(document, &columns); err != nil {
		return nil, err
	}
	for _, name := range slices.Sorted(maps.Keys(columns)) {
		raw := columns[name]
		var value string
		if raw[0] == '"' {
			if err := json.Unmarshal(raw, &value); err != nil {
				return nil, err
			}
		} else {
			value = string(raw)
		}
		if value == "null" || value == "[]" || value == "{}" || value == "" {
			continue
		}
		out = append(out, field{name, value})
	}
	return out, nil
}

func indented(raw json.RawMessage) (string, error) {
	var out bytes.Buffer
	err := json.Indent(&out, raw, "", "  ")
	return out.String(), err
}
