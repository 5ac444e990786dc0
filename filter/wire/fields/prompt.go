package fields

import (
	"strings"

	"keel/pricing/tokens"
)

// Hosted notes the first thing that the provider adds to a prompt, tools before all else: what they do is billed.
func Hosted(p *tokens.Prompt, what string) {
	if p.Hosted == "" || isTool(what) && !isTool(p.Hosted) && !strings.HasPrefix(p.Hosted, "several models") {
		p.Hosted = what
	}
}

func isTool(what string) bool {
	return strings.HasPrefix(what, "tool ") || strings.HasPrefix(what, "hosted tool ")
}

// Classify gives the texts among the segments from the one numbered first on
// another class: what a message is may stand behind what it holds.
func Classify(p *tokens.Prompt, first int, class tokens.Class) {
	for i := first; i < len(p.Segments); i++ {
		if p.Segments[i].Class == tokens.Text {
			p.Segments[i].Class = class
		}
	}
}
