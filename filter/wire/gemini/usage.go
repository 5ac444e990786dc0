package gemini

import (
	"keel/filter/wire/walk"
	"keel/pricing/meter"
)

// figures are the counts of a usageMetadata. Protocol buffers leave out
// zeros, so an absent count is 0 once any other is there.
type figures struct {
	prompt, tool, candidates, thoughts, cached, total int64

	in, cache, out modalities
	tier           string
	none           bool // there is no count at all
	free           bool // nobody bills it
}

// modalities is a split of a count; what it leaves out is text, and so are documents.
// Its sum can be less than the count (measured with tools of Gemini 3) or more.
type modalities struct{ audio, image, video int64 }

// add sums up the figures of two responses.
func (f *figures) add(g figures) {
	for _, n := range []struct {
		sum *int64
		n   int64
	}{
		{&f.prompt, g.prompt}, {&f.tool, g.tool}, {&f.candidates, g.candidates}, {&f.thoughts, g.thoughts}, {&f.cached, g.cached}, {&f.total, g.total},
		{&f.in.audio, g.in.audio}, {&f.in.image, g.in.image}, {&f.in.video, g.in.video},
		{&f.cache.audio, g.cache.audio}, {&f.cache.image, g.cache.image}, {&f.cache.video, g.cache.video},
		{&f.out.audio, g.out.audio}, {&f.out.image, g.out.image}, {&f.out.video, g.out.video},
	} {
		*n.sum = min(*n.sum+n.n, walk.MaxCount)
	}
	f.none = f.none && g.none
}

// count reads a count.
func (f *figures) count(c *walk.Cursor, n *int64) error {
	v, ok, err := c.Count()
	if ok {
		*n, f.none = v, false
	}
	return err
}

// readUsage reads a usageMetadata.
func readUsage(c *walk.Cursor) (figures, error) {
	f := figures{none: true}
	err := c.Object(func(key []byte) error {
		switch string(key) {
		case "promptTokenCount":
			return f.count(c, &f.prompt)
		case "toolUsePromptTokenCount":
			return f.count(c, &f.tool)
		case "candidatesTokenCount", "responseTokenCount": // the latter at the live API
			return f.count(c, &f.candidates)
		case "thoughtsTokenCount":
			return f.count(c, &f.thoughts)
		case "cachedContentTokenCount":
			return f.count(c, &f.cached)
		case "totalTokenCount":
			return f.count(c, &f.total)
		case "promptTokensDetails", "promptTokenDetails", "toolUsePromptTokensDetails": // the second at embeddings
			return f.in.add(c)
		case "cacheTokensDetails":
			return f.cache.add(c)
		case "candidatesTokensDetails", "responseTokensDetails":
			return f.out.add(c)
		case "serviceTier":
			tier, err := enum(c)
			f.tier = tierName(tier)
			return err
		case "trafficType":
			traffic, err := enum(c)
			if tier, ok := traffics[traffic]; ok && f.tier == "" {
				f.tier = tier
			}
			return err
		}
		return nil
	})
	return f, err
}

// traffics are the service tiers that Vertex AI calls traffic types, by name or
// number (google.cloud.aiplatform.v1beta1, UsageMetadata.TrafficType).
var traffics = map[string]string{
	"ON_DEMAND": "standard", "1": "standard",
	"PROVISIONED_THROUGHPUT": "provisioned_throughput", "2": "provisioned_throughput",
	"ON_DEMAND_PRIORITY": "priority", "3": "priority",
	"ON_DEMAND_FLEX": "flex", "4": "flex",
}

// add reads a list of {modality, tokenCount}. The modality is a name, or its
// number where the client asked for enum-encoding=int.
func (m *modalities) add(c *walk.Cursor) error {
	return c.Array(func() error {
		var modality string
		var tokens int64
		err := c.Object(func(key []byte) (err error) {
			switch string(key) {
			case "modality":
				modality, err = enum(c)
			case "tokenCount", "tokens": // the latter at interactions
				var f figures
				err = f.count(c, &tokens)
			}
			return err
		})
		m.put(modality, tokens)
		return err
	})
}

func (m *modalities) put(modality string, tokens int64) {
	switch modality {
	case "AUDIO", "audio", "4":
		m.audio = min(m.audio+tokens, walk.MaxCount)
	case "IMAGE", "image", "2":
		m.image = min(m.image+tokens, walk.MaxCount)
	case "VIDEO", "video", "3":
		m.video = min(m.video+tokens, walk.MaxCount)
	}
}

// usage turns the figures into meters. Thoughts stand beside candidates, what
// tools brought in stands beside the prompt, and cached is inside the prompt.
// What the total has beyond all of these is output, the dearer side: nobody has
// seen it with this API.
func (f figures) usage() (u meter.Usage) {
	rest := func(from *int64, n int64) int64 {
		n = min(max(n, 0), *from)
		*from -= n
		return n
	}
	fresh := f.prompt + f.tool
	cached := rest(&fresh, f.cached)
	if f.free {
		u[meter.UnbilledInput], u[meter.UnbilledCachedInput] = fresh, cached
		return u
	}
	u[meter.CachedInputAudio] = rest(&cached, f.cache.audio)
	u[meter.CachedInputImage] = rest(&cached, f.cache.image)
	u[meter.CachedInput] = cached // cached video too: it is priced as text

	u[meter.InputAudio] = rest(&fresh, f.in.audio-u[meter.CachedInputAudio])
	u[meter.InputImage] = rest(&fresh, f.in.image-u[meter.CachedInputImage])
	u[meter.InputVideo] = rest(&fresh, f.in.video-min(f.cache.video, cached))
	u[meter.Input] = fresh

	out := f.candidates + max(f.total-f.prompt-f.tool-f.candidates-f.thoughts, 0)
	u[meter.OutputAudio] = rest(&out, f.out.audio)
	u[meter.OutputImage] = rest(&out, f.out.image)
	u[meter.OutputVideo] = rest(&out, f.out.video)
	u[meter.Output] = out
	u[meter.Reasoning] = f.thoughts
	return u
}
