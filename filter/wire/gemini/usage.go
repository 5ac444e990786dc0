package gemini

import (
	"strings"

	"keel/filter/wire/walk"
	"keel/pricing/meter"
)

// maxCount is more than any call can use; what claims more is not a count.
// Below it sums of counts cannot overflow.
const maxCount = 1 << 50

// figures are the counts of a usageMetadata. Protocol buffers leave out
// zeros, so an absent count is 0 once any other is there.
type figures struct {
	prompt, tool, candidates, thoughts, cached int64
	in, cache, out                             modalities
	tier                                       string
	none                                       bool // there is no count at all
}

// modalities is a split of a count; what it leaves out is text, and so are
// video and documents, which are priced as such.
type modalities struct{ audio, image int64 }

func readUsage(object []byte) figures {
	f := figures{none: true}
	count := func(c *walk.Cursor, n *int64) error {
		v, ok, err := c.Int()
		if ok && v >= 0 && v <= maxCount {
			*n, f.none = v, false
		}
		return err
	}
	_ = walk.Response(object, func(c *walk.Cursor, key []byte) error {
		switch string(key) {
		case "promptTokenCount":
			return count(c, &f.prompt)
		case "toolUsePromptTokenCount":
			return count(c, &f.tool)
		case "candidatesTokenCount":
			return count(c, &f.candidates)
		case "thoughtsTokenCount":
			return count(c, &f.thoughts)
		case "cachedContentTokenCount":
			return count(c, &f.cached)
		case "totalTokenCount":
			var total int64
			return count(c, &total)
		case "promptTokensDetails", "toolUsePromptTokensDetails":
			return f.in.add(c)
		case "cacheTokensDetails":
			return f.cache.add(c)
		case "candidatesTokensDetails":
			return f.out.add(c)
		case "serviceTier":
			tier, err := c.Text()
			f.tier = string(tier)
			return err
		}
		return nil
	})
	return f
}

// add reads a list of {modality, tokenCount}. The modality is a name, or its
// number where the client asked for enum-encoding=int.
func (m *modalities) add(c *walk.Cursor) error {
	return c.Array(func() error {
		var modality string
		var tokens int64
		err := c.Object(func(key []byte) error {
			switch string(key) {
			case "modality":
				raw, err := c.Value()
				modality = strings.Trim(string(raw), `"`)
				return err
			case "tokenCount":
				n, ok, err := c.Int()
				if ok && n >= 0 && n <= maxCount {
					tokens = n
				}
				return err
			}
			return nil
		})
		switch modality {
		case "AUDIO", "4":
			m.audio = min(m.audio+tokens, maxCount)
		case "IMAGE", "2":
			m.image = min(m.image+tokens, maxCount)
		}
		return err
	})
}

// usage turns the figures into meters. Thoughts stand beside candidates, what
// tools brought in stands beside the prompt, and cached is inside the prompt.
func (f figures) usage() *meter.Usage {
	u := new(meter.Usage)
	input := f.prompt + f.tool
	cached := min(f.cached, input)
	fresh := input - cached
	cachedAudio := min(f.cache.audio, cached)
	u[meter.CachedInputAudio] = cachedAudio
	u[meter.CachedInput] = cached - cachedAudio
	u[meter.InputAudio] = min(max(f.in.audio-f.cache.audio, 0), fresh)
	u[meter.InputImage] = min(max(f.in.image-f.cache.image, 0), fresh-u[meter.InputAudio])
	u[meter.Input] = fresh - u[meter.InputAudio] - u[meter.InputImage]

	u[meter.OutputAudio] = min(f.out.audio, f.candidates)
	u[meter.OutputImage] = min(f.out.image, f.candidates-u[meter.OutputAudio])
	u[meter.Output] = f.candidates - u[meter.OutputAudio] - u[meter.OutputImage]
	u[meter.Reasoning] = f.thoughts
	return u
}
