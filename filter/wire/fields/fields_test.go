package fields

import (
	"errors"
	"testing"

	"keel/filter/wire"
	"keel/filter/wire/walk"
)

var (
	flat   = &Form{Model: "model", Stream: "stream", Limit: "max_tokens"}
	nested = &Form{Model: "model_id", Options: "parameters", Limit: "max_new_tokens", Unlimited: func(n int64) bool { return n == -1 }}
	loose  = &Form{Model: "model", Nameless: true}
	pathed = &Form{Options: "parameters", Limit: "max_new_tokens", Nameless: true}
)

func TestRewrite(t *testing.T) {
	t.Parallel()
	both := wire.Edit{Model: "n", MaxOutputTokens: 7}
	for _, c := range []struct {
		name string
		form *Form
		body string
		edit wire.Edit
		want string
	}{
		{"nothing", flat, ` {"model": "m", "max_tokens": 9} `, wire.Edit{ForceUsage: true}, ` {"model": "m", "max_tokens": 9} `},
		{"both", flat, `{"model": "m", "max_tokens": 9}`, both, `{"model": "n", "max_tokens": 7}`},
		{"not raised", flat, `{"model":"m","max_tokens":5}`, wire.Edit{MaxOutputTokens: 7}, `{"model":"m","max_tokens":5}`},
		{"null", flat, `{"model":"m","max_tokens":null}`, wire.Edit{MaxOutputTokens: 7}, `{"model":"m","max_tokens":7}`},
		{"absent", flat, `{"model":"m"}`, wire.Edit{MaxOutputTokens: 7}, `{"max_tokens":7,"model":"m"}`},
		{"nested", nested, `{"model_id":"m","parameters":{ "max_new_tokens": 9}}`, both, `{"model_id":"n","parameters":{ "max_new_tokens": 7}}`},
		{"nested, unlimited", nested, `{"model_id":"m","parameters":{"max_new_tokens":-1}}`, both, `{"model_id":"n","parameters":{"max_new_tokens":7}}`},
		{"nested, absent", nested, `{"model_id":"m","parameters":{"x":1}}`, both, `{"model_id":"n","parameters":{"max_new_tokens":7,"x":1}}`},
		{"nested, empty", nested, `{"model_id":"m","parameters":{}}`, both, `{"model_id":"n","parameters":{"max_new_tokens":7}}`},
		{"nested, null", nested, `{"model_id":"m","parameters":null}`, both, `{"model_id":"n","parameters":{"max_new_tokens":7}}`},
		{"nested, no options", nested, `{"model_id":"m"}`, both, `{"parameters":{"max_new_tokens":7},"model_id":"n"}`},
		{"the name of the limit elsewhere", nested, `{"model_id":"m","max_new_tokens":99}`, wire.Edit{Model: "n"}, `{"model_id":"n","max_new_tokens":99}`},
		{"nameless", loose, `{ }`, both, `{"model":"n" }`},
		{"nameless, empty", loose, `{"model":""}`, both, `{"model":"n"}`},
		{"no model at all", pathed, `{"model":"m"}`, both, `{"parameters":{"max_new_tokens":7},"model":"m"}`},
	} {
		var r wire.Request
		ignore := func(*walk.Cursor, []byte) error { return nil }
		if err := c.form.Read(&r, []byte(c.body), ignore, ignore); err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		got := Rewrite(&r, []byte(c.body), c.edit)
		if string(got) != c.want {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
		var again wire.Request
		if err := c.form.Read(&again, got, ignore, nil); err != nil || c.edit.Model != "" && c.form.Model != "" && again.Model != c.edit.Model ||
			c.edit.MaxOutputTokens > 0 && c.form.Limit != "" && (again.MaxOutputTokens < 1 || again.MaxOutputTokens > c.edit.MaxOutputTokens) {
			t.Errorf("%s: read again: %+v, %v", c.name, again, err)
		}
	}
	if body := []byte(`{}`); &Rewrite(&wire.Request{}, body, both)[0] != &body[0] {
		t.Error("a request that was not read here is rewritten")
	}
}

func TestRefused(t *testing.T) {
	t.Parallel()
	for _, body := range []string{`{}`, `{"model":null}`, `{"model":""}`, `{"model":7}`, `{"model":"m","max_tokens":0}`, `{"model":"m","max_tokens":-1}`, `{"model":"m","max_tokens":"9"}`, `{"model":"m","stream":"yes"}`} {
		err := flat.Read(new(wire.Request), []byte(body), func(*walk.Cursor, []byte) error { return nil }, nil)
		var want *wire.RequestError
		if !errors.As(err, &want) || want.Field == "" {
			t.Errorf("%s: %v, want a RequestError", body, err)
		}
	}
	for _, body := range []string{``, `[]`, `{"model":"m","model":"n"}`, `{"model":"m"}}`} {
		err := flat.Read(new(wire.Request), []byte(body), func(*walk.Cursor, []byte) error { return nil }, nil)
		var want *wire.SyntaxError
		if !errors.As(err, &want) {
			t.Errorf("%s: %v, want a SyntaxError", body, err)
		}
	}
}

func TestFacts(t *testing.T) {
	t.Parallel()
	for want, r := range map[string]wire.Refusal{
		`{"decision_id":"d\"1"}`:                                   {DecisionID: `d"1`},
		`{"decision_id":"d1","details":{"budget":"b","left":"0"}}`: {DecisionID: "d1", Details: map[string]string{"left": "0", "budget": "b"}},
	} {
		if got := Facts(r); string(got) != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
}
