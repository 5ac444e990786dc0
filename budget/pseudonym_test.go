package budget

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"keel/pricing"
)

func pseudonymKeys(t *testing.T) (file string, keys *PseudonymKeys) {
	t.Helper()
	file = filepath.Join(t.TempDir(), "pseudonym.key")
	if _, err := AddPseudonymKey(file); err != nil {
		t.Fatal(err)
	}
	keys, err := ReadPseudonymKeys(file)
	if err != nil {
		t.Fatal(err)
	}
	return file, keys
}

func TestPseudonyms(t *testing.T) {
	t.Parallel()
	file, keys := pseudonymKeys(t)
	ada := keys.Of("acme", "user", "ada")
	if id, ok := PseudonymKeyOf(ada); !ok || id != keys.InUse() || strings.Contains(ada, "ada") || ada != keys.Of("acme", "user", "ada") {
		t.Errorf("%q of key %q", ada, keys.InUse())
	}
	seen := map[string]bool{ada: true}
	for _, other := range [][3]string{{"acme", "user", "bob"}, {"other", "user", "ada"}, {"acme", "team", "ada"}, {"acm", "euser", "ada"}, {"acme", "use", "rada"}} {
		p := keys.Of(other[0], other[1], other[2])
		if seen[p] {
			t.Errorf("%v has the pseudonym of another", other)
		}
		seen[p] = true
	}
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the file of the key: %v, %v", info.Mode(), err)
	}

	// Another key: whoever was somebody is somebody new, and can still be looked up.
	id, err := AddPseudonymKey(file)
	if err != nil {
		t.Fatal(err)
	}
	rotated, err := ReadPseudonymKeys(file)
	if err != nil {
		t.Fatal(err)
	}
	all := rotated.All("acme", "user", "ada")
	if rotated.InUse() != id || id == keys.InUse() || len(all) != 2 || all[0].KeyID != id || all[0].Text != rotated.Of("acme", "user", "ada") || all[1].Text != ada {
		t.Errorf("after a rotation: in use %s, %v", rotated.InUse(), all)
	}

	for text, want := range map[string]string{"": "has no key", "# nothing\n": "has no key", "c2hvcnQ=\n": ":1: a line is 32 random bytes", "#\nnot base64": ":2: a line"} {
		bad := filepath.Join(t.TempDir(), "bad")
		if err := os.WriteFile(bad, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := ReadPseudonymKeys(bad); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %s", text, err, want)
		}
		if text == "" {
			continue
		}
		if _, err := AddPseudonymKey(bad); err == nil {
			t.Errorf("%q: a key was added to a file that can't be read", text)
		}
		if now, _ := os.ReadFile(bad); string(now) != text {
			t.Errorf("%q became %q", text, now)
		}
	}
}

// What names a plain value of a label that has pseudonyms would match nobody: it is refused, without repeating the value.
func TestPlainValuesAreRefused(t *testing.T) {
	t.Parallel()
	_, keys := pseudonymKeys(t)
	ada := keys.Of("acme", "user", "ada")
	subject := func(org, name string, pseudonym bool) string {
		text := "kind: Subject\norg: " + org + "\nname: " + name + "\nlabel: user\nfrom: {header: x-" + name + "}\n"
		if pseudonym {
			text += "pseudonym: true\n"
		}
		return text + "---\n"
	}
	head := subject("default", "user", true)
	budget := func(selector string) string {
		return "kind: Budget\norg: acme\nname: b\nselector: " + selector + "\nlimit: 1 USD\nwindow: day\n"
	}
	when := func(condition string) string {
		return "kind: Policy\norg: acme\nname: p\nwhen: '" + condition + "'\ndo: {deny: no}\n"
	}
	for _, c := range []struct{ name, documents, want string }{
		{"a pseudonym", head + budget("{user: "+ada+", team: research}"), ""},
		{"anybody", head + budget(`{user: "*"}`), ""},
		{"nobody", head + budget(`{user: ""}`), ""},
		{"a plain value", head + budget("{user: zq-plain}"), "selector.user: label user has pseudonyms"},
		{"a glob", head + budget(`{user: "zq-plain*"}`), "selector.user: label user has pseudonyms"},
		{"the org has rules of its own", head + subject("acme", "u", false) + budget("{user: zq-plain}"), ""},
		{"a condition names somebody", head + when(`subject.user == "zq-plain"`), "when: label user has pseudonyms"},
		{"in a list", head + when(`subject["user"] in ["`+ada+`", "zq-plain"]`), "when: label user has pseudonyms"},
		{"by its beginning", head + when(`subject.user.startsWith("zq-plain")`), "can only compare it"},
		{"with another label", head + when(`subject.user == subject.team`), "can only compare it"},
		{"in a loop", head + when(`subject.exists(l, subject[l] == "zq-plain")`), "can't look at all of them"},
		{"by pseudonyms", head + when(`subject.user != "`+ada+`" && has(subject.user) && "user" in subject && subject.team == "research" && subject.user in ["`+ada+`"]`), ""},
		{"a loop where nothing is hidden", when(`subject.exists(l, subject[l] == "x")`), ""},
		{"a tag", head + "kind: Policy\norg: acme\nname: p\nwhen: 'true'\ndo: {tag: {user: zq-plain}}\n", "do.tag.user: label user has pseudonyms"},
		{"the organisation", "kind: Subject\nname: o\nlabel: org\nfrom: {header: x-o}\npseudonym: true\n", "the organisation chooses"},
		{"half of a label", subject("acme", "a", true) + subject("acme", "b", false), "pseudonym: Subject a gives label user, too"},
	} {
		t.Run(c.name, func(t *testing.T) {
			docs, err := ReadDocuments(strings.NewReader(c.documents), "test.yaml")
			if err == nil {
				_, err = Compile(docs, pricing.Catalog())
			}
			switch {
			case c.want == "" && err != nil:
				t.Errorf("refused: %v", err)
			case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)):
				t.Errorf("error %v, want %q", err, c.want)
			case err != nil && strings.Contains(err.Error(), "zq-plain"):
				t.Errorf("the error repeats the value: %v", err)
			}
		})
	}
}

func BenchmarkPseudonym(b *testing.B) {
	file := filepath.Join(b.TempDir(), "pseudonym.key")
	if _, err := AddPseudonymKey(file); err != nil {
		b.Fatal(err)
	}
	keys, err := ReadPseudonymKeys(file)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		keys.Of("acme", "user", "ada@example.com")
	}
}
