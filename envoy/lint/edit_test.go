package lint

import (
	"bytes"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
)

// configuration is what a set of files says, to be edited.
type configuration struct {
	files []string
	docs  [][]any // by file
}

func load(t *testing.T, files ...string) configuration {
	t.Helper()
	c := configuration{files: files}
	for _, name := range files {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		var docs []any
		for part := range bytes.SplitSeq(append([]byte("\n"), text...), []byte("\n---\n")) {
			var doc any
			if err := yaml.Unmarshal(part, &doc); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			if doc != nil {
				docs = append(docs, doc)
			}
		}
		c.docs = append(c.docs, docs)
	}
	return c
}

func (c configuration) lint(t *testing.T, o Options) *Report {
	t.Helper()
	var sources []Source
	for i, docs := range c.docs {
		var text bytes.Buffer
		for _, doc := range docs {
			out, err := yaml.Marshal(doc)
			if err != nil {
				t.Fatal(err)
			}
			text.WriteString("---\n")
			text.Write(out)
		}
		sources = append(sources, Source{filepath.Base(c.files[i]), text.Bytes()})
	}
	report, err := Lint(sources, o)
	if err != nil {
		t.Fatal(err)
	}
	return report
}

// An edit changes a configuration, and reports whether it had what is changed.
type edit func(configuration) bool

// A change is one place of the first document that has its path. Steps of the path are names,
// indices, or "[X]": the item of a list that is called so or of that kind, see index; or "{X}" in
// front: the document of that kind.
type change struct {
	path  string
	value any // nil removes
	into  bool
}

func set(path string, value any) edit { return change{path: expand(path), value: value}.apply }
func remove(path string) edit         { return change{path: expand(path)}.apply }
func insert(path string, value any) edit {
	return change{path: expand(path), value: value, into: true}.apply
}

// behindFilter inserts a filter right before the router.
func behindFilter(filter obj) edit {
	return func(c configuration) bool {
		return everywhere(c, func(v any) (any, bool) {
			list, ok := v.([]any)
			if !ok || index(list, "[Router]") < 0 || index(list, "[ExternalProcessor]") < 0 {
				return v, false
			}
			return slices.Insert(slices.Clone(list), index(list, "[Router]"), any(filter)), true
		})
	}
}

// without removes items of lists whose text has one of these words, or what is called so.
func without(words ...string) edit {
	has := func(v any) bool {
		return slices.ContainsFunc(words, func(word string) bool { return strings.Contains(fmt.Sprint(v), word) })
	}
	return func(c configuration) bool {
		return everywhere(c, func(v any) (any, bool) {
			switch v := v.(type) {
			case map[string]any:
				for _, word := range words {
					if _, there := v[word]; there {
						delete(v, word)
						return v, true
					}
				}
			case []any:
				named := func(v any) bool { m, ok := v.(map[string]any); return ok && has(m["name"]) }
				if slices.ContainsFunc(v, named) {
					return slices.DeleteFunc(slices.Clone(v), named), true
				}
			}
			return v, false
		})
	}
}

// replaced gives every field of a name another value.
func replaced(name string, value any) edit {
	return func(c configuration) bool {
		return everywhere(c, func(v any) (any, bool) {
			if m, ok := v.(map[string]any); ok && m[name] != nil && m[name] != value {
				m[name] = value
				return m, true
			}
			return v, false
		})
	}
}

// rewritten has another text in the place of one, wherever that stands.
func rewritten(text, other string) edit {
	return func(c configuration) bool {
		return everywhere(c, func(v any) (any, bool) {
			m, ok := v.(map[string]any)
			if !ok {
				return v, false
			}
			for name, value := range m {
				if s, ok := value.(string); ok && strings.Contains(s, text) {
					m[name] = strings.ReplaceAll(s, text, other)
					return m, true
				}
			}
			return v, false
		})
	}
}

// lastBeforeRouter puts a filter right before the router.
func lastBeforeRouter(filter obj) edit {
	return func(c configuration) bool {
		return everywhere(c, func(v any) (any, bool) {
			m, ok := v.(map[string]any)
			filters, listed := m["http_filters"].([]any)
			if !ok || !listed || len(filters) < 2 {
				return v, false
			}
			at := len(filters) - 2
			if last, _ := filters[at].(map[string]any); last["name"] == filter["name"] {
				return v, false
			}
			m["http_filters"] = slices.Insert(slices.Clone(filters), len(filters)-1, any(map[string]any(filter)))
			return m, true
		})
	}
}

// changeFirst puts the filter that changes calls before the one that decides about them.
func changeFirst(c configuration) bool {
	return everywhere(c, func(v any) (any, bool) {
		m, ok := v.(map[string]any)
		filters, listed := m["http_filters"].([]any)
		at := index(filters, "[keel.ext_proc.change]")
		if !ok || !listed || at <= 0 {
			return v, false
		}
		m["http_filters"] = append([]any{filters[at]}, slices.Delete(slices.Clone(filters), at, at+1)...)
		return m, true
	})
}

// again adds a copy of Keel's filter under another name.
func again(c configuration) bool {
	return everywhere(c, func(v any) (any, bool) {
		list, ok := v.([]any)
		if !ok || index(list, "[Router]") < 0 || index(list, "[ExternalProcessor]") != 0 {
			return v, false
		}
		second := maps.Clone(list[0].(map[string]any))
		second["name"] = "again"
		return slices.Insert(slices.Clone(list), 1, any(second)), true
	})
}

// withoutAttempts removes the filters of clusters.
func withoutAttempts(c configuration) bool {
	everywhere(c, func(v any) (any, bool) {
		if m, ok := v.(map[string]any); ok && strings.HasSuffix(fmt.Sprint(m["@type"]), ".HttpProtocolOptions") {
			delete(m, "http_filters")
		}
		return v, false
	})
	return true
}

// given lets a mutation apply only where a place has one of these values.
func given(path string, values ...any) edit {
	return func(c configuration) bool {
		for _, docs := range c.docs {
			for _, doc := range docs {
				if v, ok := lookup(doc, strings.Split(expand(path), "/")); ok && slices.Contains(values, v) {
					return true
				}
			}
		}
		return false
	}
}

func lookup(v any, steps []string) (any, bool) {
	if len(steps) == 0 {
		return v, true
	}
	switch v := v.(type) {
	case map[string]any:
		if kind, ok := strings.CutPrefix(steps[0], "{"); ok {
			if v["kind"] != strings.TrimSuffix(kind, "}") {
				return nil, false
			}
			return lookup(v, steps[1:])
		}
		return lookup(v[steps[0]], steps[1:]) // nil for what is not there
	case []any:
		if i := index(v, steps[0]); i >= 0 {
			return lookup(v[i], steps[1:])
		}
	}
	return nil, len(steps) == 0 || v == nil
}

// everywhere does f on all values, and reports whether it did something.
func everywhere(c configuration, f func(any) (any, bool)) bool {
	done := false
	var walk func(any) any
	walk = func(v any) any {
		v, did := f(v)
		done = done || did
		switch v := v.(type) {
		case map[string]any:
			for name, inner := range v {
				v[name] = walk(inner)
			}
		case []any:
			for i, inner := range v {
				v[i] = walk(inner)
			}
		}
		return v
	}
	for _, docs := range c.docs {
		for i := range docs {
			docs[i] = walk(docs[i])
		}
	}
	return done
}

// expand knows the long ways.
func expand(path string) string {
	for short, long := range map[string]string{
		"router/":   "hcm/http_filters/[ExternalProcessor]/typed_config/",
		"authz/":    "hcm/http_filters/[ExtAuthz]/typed_config/",
		"log/":      "hcm/access_log/[HttpGrpcAccessLogConfig]/",
		"host/":     "hcm/route_config/virtual_hosts/0/",
		"listener/": "static_resources/listeners/0/",
		"clusters/": "static_resources/clusters/",
	} {
		if rest, ok := strings.CutPrefix(path, short); ok {
			path = long + rest
		}
	}
	if rest, ok := strings.CutPrefix(path, "hcm/"); ok {
		path = "static_resources/listeners/0/filter_chains/0/filters/0/typed_config/" + rest
	}
	return path
}

func (c configuration) apply(edits ...edit) bool {
	for _, e := range edits {
		if !e(c) {
			return false
		}
	}
	return true
}

func (e change) apply(c configuration) bool {
	for _, docs := range c.docs {
		for i := range docs {
			if changed, ok := e.on(docs[i], strings.Split(e.path, "/")); ok {
				docs[i] = changed
				return true
			}
		}
	}
	return false
}

// on returns v with the edit done on what is below the steps.
func (e change) on(v any, steps []string) (any, bool) {
	if len(steps) == 0 {
		if !e.into {
			return e.value, true
		}
		list, ok := v.([]any)
		return append([]any{e.value}, list...), ok
	}
	step, last := steps[0], len(steps) == 1
	switch v := v.(type) {
	case map[string]any:
		if kind, ok := strings.CutPrefix(step, "{"); ok { // the document of a kind
			if v["kind"] != strings.TrimSuffix(kind, "}") {
				return v, false
			}
			return e.on(v, steps[1:])
		}
		if last && !e.into {
			_, there := v[step]
			if e.value == nil {
				delete(v, step)
				return v, there
			}
			v[step] = e.value
			return v, true
		}
		inner, there := v[step]
		if !there && e.value == nil || inner == nil && isSelector(steps, 1) {
			return v, false
		}
		if inner == nil && !e.into {
			inner = map[string]any{}
		}
		changed, ok := e.on(inner, steps[1:])
		if ok {
			v[step] = changed
		}
		return v, ok
	case []any:
		if step == "+" && last {
			return append(slices.Clone(v), e.value), true
		}
		i := index(v, step)
		if i < 0 {
			return v, false
		}
		if last && e.value == nil && !e.into {
			return slices.Delete(slices.Clone(v), i, i+1), true
		}
		var ok bool
		v[i], ok = e.on(v[i], steps[1:])
		return v, ok
	}
	return v, false
}

func isSelector(steps []string, i int) bool {
	return i < len(steps) && strings.HasPrefix(steps[i], "[")
}

// index finds an item by its number, name, kind, applyTo; [processor] and [provider] are clusters.
func index(list []any, step string) int {
	if i, err := strconv.Atoi(step); err == nil {
		return map[bool]int{true: i, false: -1}[i < len(list)]
	}
	want := strings.Trim(step, "[]")
	return slices.IndexFunc(list, func(item any) bool {
		m, _ := item.(map[string]any)
		config, _ := m["typed_config"].(map[string]any)
		switch want {
		case "processor":
			return strings.HasSuffix(fmt.Sprint(m["name"]), "_processor")
		case "attempts":
			return m["applyTo"] == "CLUSTER" && strings.Contains(fmt.Sprint(m["patch"]), "http_filters")
		case "provider":
			return strings.Contains(fmt.Sprint(m["typed_extension_protocol_options"]), "http_filters")
		}
		return m["name"] == want || m["applyTo"] == want || strings.HasSuffix(fmt.Sprint(config["@type"]), "."+want)
	})
}

// fresh are the findings that another report does not have.
func fresh(before, after *Report) []Finding {
	had := map[string]int{}
	key := func(f Finding) string { return f.Rule + f.Path + f.Message }
	for _, f := range before.Findings {
		had[key(f)]++
	}
	var some []Finding
	for _, f := range after.Findings {
		if had[key(f)]--; had[key(f)] < 0 {
			some = append(some, f)
		}
	}
	return some
}

func rulesOf(findings []Finding) []string {
	var ids []string
	for _, f := range findings {
		ids = append(ids, f.Rule)
	}
	return ids
}
