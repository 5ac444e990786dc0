package tokens

// media is a guess at what inline media are to the maker whose images count by
// r. No bound is claimed for them.
//
// Sound is 32 tokens a second at Google (understand token counts) and 10 at OpenAI (measured); video
// at Google 263 a second of some 200 KB. A PDF page is 258 at Google, 1,500 to 3,000 at Anthropic (PDF support
// pages), and elsewhere what is written on it.
func (r imageRule) media(m Media) int64 {
	bytes := max(m.Bytes, 0)
	switch m.Kind {
	case Audio:
		perSecond := int64(10)
		if r.google() {
			perSecond = 32
		}
		millis := m.Millis
		if millis <= 0 {
			millis = bytes / soundBytes
		}
		return scale(millis, perSecond, 1000)
	case Video:
		return bytes / 1_000
	}
	if m.Pages <= 0 {
		return bytes / 40
	}
	switch {
	case r.google():
		return mul(m.Pages, 258)
	case r.kind == claudePatches:
		return mul(m.Pages, 1_800)
	}
	return min(mul(m.Pages, 800), bytes/60+20)
}

// soundBytes is how much base64 a millisecond of compressed sound takes, at 128 kbit/s.
const soundBytes = 21

func (r imageRule) google() bool {
	return r.kind == geminiTiles || r.kind == gemini2Tiles || r.kind == fixedImage
}
