package envoy

import (
	"bytes"
	"fmt"
	"strings"

	"github.com/goccy/go-yaml"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
)

// tree is a message as ordered maps, by the names that Envoy's reference has.
func tree(m proto.Message) (yaml.MapSlice, error) {
	text, err := protojson.MarshalOptions{UseProtoNames: true}.Marshal(m)
	if err != nil {
		return nil, err
	}
	var t yaml.MapSlice
	err = yaml.UnmarshalWithOptions(text, &t, yaml.UseOrderedMap())
	return t, err
}

// object is an ordered map of pairs: a name, then its value.
func object(pairs ...any) yaml.MapSlice {
	o := make(yaml.MapSlice, 0, len(pairs)/2)
	for i := 0; i < len(pairs); i += 2 {
		o = append(o, yaml.MapItem{Key: pairs[i], Value: pairs[i+1]})
	}
	return o
}

// list keeps a list of one line short to write.
func list(items ...any) []any { return items }

// field is a value of an ordered map, nil if it has none.
func field(o yaml.MapSlice, name string) any {
	for _, item := range o {
		if item.Key == name {
			return item.Value
		}
	}
	return nil
}

// document is one YAML document and what is said before it.
type document struct {
	head []string
	body yaml.MapSlice
}

// documents writes documents with their comments. Every comment is written where
// it first applies, and no more.
func documents(all []document) ([]byte, error) {
	var out bytes.Buffer
	said := map[int]bool{}
	for i, d := range all {
		if i > 0 {
			out.WriteString("---\n")
		}
		for _, line := range d.head {
			fmt.Fprintf(&out, "# %s\n", line)
		}
		w := commenter{said: said, at: yaml.CommentMap{}}
		body := w.walk(d.body, "$", nil)
		text, err := yaml.MarshalWithOptions(body, yaml.WithComment(w.at), yaml.UseLiteralStyleIfMultiline(true))
		if err != nil {
			return nil, err
		}
		out.Write(text)
	}
	return out.Bytes(), nil
}

// commenter finds the places of comments.
type commenter struct {
	said map[int]bool
	at   yaml.CommentMap
}

// walk goes through a value. steps are the fields that lead to it, those of named
// objects as "field[name]".
func (w *commenter) walk(value any, path string, steps []string) any {
	switch v := value.(type) {
	case yaml.MapSlice:
		if name := label(v); name != "" && len(steps) > 0 {
			steps[len(steps)-1] += "[" + name + "]"
		}
		v = w.explicit(v, steps)
		for i, item := range v {
			key := fmt.Sprint(item.Key)
			inner := append(append([]string(nil), steps...), key)
			at := path + "." + quoted(key)
			w.comment(at, inner)
			v[i].Value = w.walk(item.Value, at, inner)
		}
		return v
	case []any:
		for i, item := range v {
			v[i] = w.walk(item, fmt.Sprintf("%s[%d]", path, i), append([]string(nil), steps...))
		}
		return v
	}
	return value
}

// label tells objects of one kind apart: by their name, filters of Keel's by where they stand.
func label(v yaml.MapSlice) string {
	if service, ok := field(v, "grpc_service").(yaml.MapSlice); ok {
		if all, ok := field(service, "initial_metadata").([]any); ok {
			phase, _ := field(all[0].(yaml.MapSlice), "value").(string)
			return phase
		}
	}
	name, _ := field(v, "name").(string)
	return name
}

// quoted is a key as goccy/go-yaml's paths have it.
func quoted(key string) string {
	if strings.ContainsAny(key, ".$*[]' /@") {
		return "'" + key + "'"
	}
	return key
}

// explicit adds settings whose default is meant, where a reader looks for them.
func (w *commenter) explicit(v yaml.MapSlice, steps []string) yaml.MapSlice {
	for _, c := range comments {
		if c.value == nil || !c.matches(append(append([]string(nil), steps...), c.field())) || field(v, c.field()) != nil {
			continue
		}
		v = append(v, yaml.MapItem{Key: c.field(), Value: c.value})
	}
	return v
}

func (w *commenter) comment(path string, steps []string) {
	for i, c := range comments {
		if w.said[i] || !c.matches(steps) {
			continue
		}
		w.said[i] = true
		var lines []string
		for line := range strings.SplitSeq(c.text, "\n") {
			lines = append(lines, " "+line)
		}
		w.at[path] = []*yaml.Comment{yaml.HeadComment(lines...)}
		return
	}
}
