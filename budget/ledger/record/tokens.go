package record

import "keel/pricing/tokens"

// What the ledger keeps of the estimator's: shapes of prompts, and the estimates
// that calibration compares with closeouts.

func appendInput(b []byte, in *tokens.Input) []byte {
	b = appendInt(b, in.Expected)
	b = appendInt(b, in.Bound)
	b = appendText(b, in.Kind)
	b = appendText(b, in.Method)
	b = appendKey(b, &in.Key)
	b = appendInt(b, in.Uncorrected)
	return appendInt(b, in.Shipped)
}

func readInput(r *reader, in *tokens.Input) {
	in.Expected = r.int64("expected")
	in.Bound = r.int64("bound")
	in.Kind = tokens.BoundKind(r.text("kind"))
	in.Method = r.text("method")
	readKey(r, &in.Key)
	in.Uncorrected = r.int64("uncorrected")
	in.Shipped = r.int64("shipped bound")
}

func appendOutput(b []byte, out *tokens.Output) []byte {
	b = appendInt(b, out.Expected)
	b = appendInt(b, out.P50)
	b = appendInt(b, out.P90)
	b = appendInt(b, out.P99)
	b = appendInt(b, out.Bound)
	b = appendText(b, out.Kind)
	b = appendText(b, out.Method)
	b = appendKey(b, &out.Key)
	return appendInt(b, out.Choices)
}

func readOutput(r *reader, out *tokens.Output) {
	out.Expected = r.int64("expected")
	out.P50 = r.int64("p50")
	out.P90 = r.int64("p90")
	out.P99 = r.int64("p99")
	out.Bound = r.int64("bound")
	out.Kind = tokens.BoundKind(r.text("kind"))
	out.Method = r.text("method")
	readKey(r, &out.Key)
	out.Choices = r.int64("choices")
}

func appendKey(b []byte, k *tokens.Key) []byte {
	return appendText(appendText(appendText(b, k.Provider), k.Family), k.Class)
}

func readKey(r *reader, k *tokens.Key) {
	k.Provider = r.text("key.provider")
	k.Family = r.text("key.family")
	k.Class = tokens.RequestClass(r.text("key.class"))
}

// The fewest bytes that an element of a list takes; a test has them.
const (
	minImage = 4
	minMedia = 4
)

func appendShape(b []byte, s *tokens.Shape) []byte {
	b = appendText(b, s.Task)
	b = appendInt(b, s.Messages)
	b = appendInts(b, s.Bytes)
	b = appendInt(b, s.Tools)
	b = appendBool(b, s.ToolChoice)
	b = appendInt(b, s.TokenIDs)
	b = appendCount(b, len(s.Images))
	for i := range s.Images {
		b = appendImage(b, &s.Images[i])
	}
	b = appendCount(b, len(s.Media))
	for i := range s.Media {
		b = appendMedia(b, &s.Media[i])
	}
	b = appendBool(b, s.Thinking)
	b = appendInt(b, s.Citations)
	return appendText(b, s.Hosted)
}

func readShape(r *reader, s *tokens.Shape) {
	r.in("shape")
	s.Task = r.text("task")
	s.Messages = r.int64("messages")
	s.Bytes = entries(r, &r.memory.sizes, "shape.bytes", (*reader).int64)
	s.Tools = r.int64("tools")
	s.ToolChoice = r.bool("tool choice")
	s.TokenIDs = r.int64("token ids")
	s.Images = list(r, nil, "shape.images", minImage, readImage)
	s.Media = list(r, nil, "shape.media", minMedia, readMedia)
	s.Thinking = r.bool("thinking")
	s.Citations = r.int64("citations")
	s.Hosted = r.text("hosted")
	r.in("")
}

func appendImage(b []byte, i *tokens.ImageShape) []byte {
	return appendInt(appendText(appendInt(appendInt(b, i.Width), i.Height), i.Detail), i.Bytes)
}

func readImage(r *reader, i *tokens.ImageShape) {
	i.Width = r.int64("width")
	i.Height = r.int64("height")
	i.Detail = r.text("detail")
	i.Bytes = r.int64("bytes")
}

func appendMedia(b []byte, m *tokens.MediaShape) []byte {
	return appendInt(appendInt(appendInt(appendText(b, m.Kind), m.Bytes), m.Pages), m.Millis)
}

func readMedia(r *reader, m *tokens.MediaShape) {
	m.Kind = r.text("kind")
	m.Bytes = r.int64("bytes")
	m.Pages = r.int64("pages")
	m.Millis = r.int64("milliseconds")
}
