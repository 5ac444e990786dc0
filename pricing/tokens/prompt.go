package tokens

// A Prompt is what a request puts in front of the model, in sizes: all that
// an estimate of its input needs, and no text. Wire readers fill it in the
// same walk that validates the body.
type Prompt struct {
	// TextBytes is the UTF-8 bytes of all text the model reads (messages, system, names and
	// arguments of tool calls, tool results), JSON escapes resolved. What stands in for text that
	// only the provider can read (encrypted reasoning, thought signatures) counts with its length.
	TextBytes   int64
	Messages    int64 // messages, turns or input items
	ToolBytes   int64 // bytes of tool definitions as they stand in the body
	Tools       int64 // function tools
	SchemaBytes int64 // bytes of an output schema as it stands in the body
	TokenIDs    int64 // tokens sent as ids: an exact count
	Images      int64 // inline images
	ImageBytes  int64 // their base64 length as it stands in the body
	MediaBytes  int64 // base64 length of inline audio, video and documents
	Media       int64 // inline audio, video and documents

	// Opaque names what the provider will add to the input and the body does
	// not show: hosted tools, stored state, file ids, URLs. "" when nothing.
	// Nobody can bound such a prompt from the request alone.
	Opaque string
}

// BoundKind says how much a bound is worth.
type BoundKind string

const (
	Provable   BoundKind = "provable"   // true by construction: the tokenizer can't make more tokens than bytes
	Calibrated BoundKind = "calibrated" // holds for what was measured and never fitted
	None       BoundKind = "none"       // the input is not in the request
)
