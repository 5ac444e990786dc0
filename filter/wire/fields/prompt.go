package fields

import "keel/pricing/tokens"

// Hosted notes the first thing that the provider adds to a prompt.
func Hosted(p *tokens.Prompt, what string) {
	if p.Hosted == "" {
		p.Hosted = what
	}
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
