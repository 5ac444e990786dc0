package lint

import (
	"bytes"
	"flag"
	"os"
	"regexp"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write the table of rules into docs/envoy.md")

// rulesIn is the part of a page that is written from the rules.
var rulesIn = regexp.MustCompile(`(?s)(<!-- rules: [^\n]* -->\n).*(<!-- end -->\n)`)

func TestPage(t *testing.T) {
	const page = "../../docs/envoy.md"
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	var table bytes.Buffer
	if err := WriteRules(&table); err != nil {
		t.Fatal(err)
	}
	part := rulesIn.FindSubmatchIndex(text)
	if part == nil {
		t.Fatalf("%s has no place for the rules", page)
	}
	want := append(append(append([]byte(nil), text[:part[3]]...), table.Bytes()...), text[part[4]:]...)
	if *update {
		if err := os.WriteFile(page, want, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if diff := cmp.Diff(string(want), string(text)); diff != "" {
		t.Errorf("%s does not say these rules (-want +got); run go test ./envoy/lint -run Page -update:\n%s", page, diff)
	}
}
