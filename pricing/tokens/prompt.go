package tokens

// A Prompt is what a request puts in front of the model: all that an estimate
// needs. Wire readers fill it in the same walk that validates the body.
//
// Segments alias the body: a Prompt keeps the body in memory, so whoever holds it
// beyond the decision calls Release. A Prompt is used by one goroutine.
type Prompt struct {
	Task     Task
	Segments []Segment // everything that the model reads as text, in order
	Messages int64     // messages, turns or input items; what is system text in a field of its own counts as one
	System   bool      // one of Messages is for system or developer text: some templates frame it otherwise, or put tools there
	Tools    int64     // function tools that the client defines
	TokenIDs int64     // tokens sent as ids: an exact count

	Images    []Image // inline images
	FarImages bool    // there are images that stand elsewhere: at a URL, in a stored file
	Media     []Media // inline audio, video and documents
	Thinking  bool    // reasoning was asked for, by budget, effort or mode; not where the model decides by itself whether to
	Citations int64   // documents that are to be cited

	// ToolChoice is set where the request forces a tool or any tool: Anthropic's
	// hidden tool prompt is longer then.
	ToolChoice bool

	// Hosted names what makes the input unknowable before the call, because the provider
	// adds to it: hosted tools, stored state, file ids, URLs. "" when nothing.
	// Nobody can bound such a prompt from the request alone.
	Hosted string

	counts [numVocabularies]*measured // of Segments, made when first asked for
}

// Task is what a call asks a model to do. The zero Task is Generate.
type Task uint8

// The tasks.
const (
	Generate   Task = iota // text, and what goes with it, from a prompt
	Embed                  // vectors
	Rerank                 // documents in order
	Count                  // tokens of a prompt; free at every provider
	Moderate               // a verdict on text
	Draw                   // images or video
	Speak                  // text to speech
	Transcribe             // speech to text
	Read                   // documents to text (OCR)
	Retrieve               // what an earlier call left: a stored response, a batch result
	Store                  // put a prompt into an explicit cache
)

// Segment is a piece of text as it stands in the request body.
type Segment struct {
	Class Class
	// JSON is the value as it stands in the body, quotes and escapes
	// included: a string is counted by its content, any other value as
	// it stands (compact JSON). A multipart field is raw text: see Plain.
	JSON  []byte
	Plain bool // JSON is text itself, without quotes and escapes
}

// Class says what a segment is to the model, because chat templates render
// each kind otherwise.
type Class uint8

// The classes of segments.
const (
	Text       Class = iota // messages, system, prompts
	ToolCall                // names and arguments of calls that the model made earlier
	ToolResult              // what tools answered
	ToolSchema              // one whole definition of a function tool
	Schema                  // an output schema
	Hidden                  // encrypted reasoning, thought signatures: stands in for text that only the provider can read

	NumClasses = int(Hidden) + 1
)

// Image is an inline image.
type Image struct {
	Width, Height int64  // pixels, from the file's header; 0 where it can't be read
	Detail        string // low, high, auto, original or what the API has; "" when not stated
	Bytes         int64  // base64 length as it stands in the body
}

// Media is inline audio, video or a document.
type Media struct {
	Kind  MediaKind
	Bytes int64 // base64 length as it stands in the body
	Pages int64 // of a PDF, where they could be counted, else 0
	// Millis is the duration where the header of a WAV file tells it, else 0.
	Millis int64
}

// MediaKind is a kind of inline media.
type MediaKind uint8

// The kinds of media.
const (
	Document MediaKind = iota
	Audio
	Video
)

// BoundKind says how much a bound is worth.
type BoundKind string

const (
	Provable   BoundKind = "provable"   // true by construction: an exact count in a published vocabulary, with published framing
	Calibrated BoundKind = "calibrated" // held in 99.9 % of recorded traffic, whether the figures were fitted to it or to others alone
	None       BoundKind = "none"       // the input is not in the request
)

// Release forgets the segments, and with them the request body. What was counted stays;
// a vocabulary that no estimate asked for before finds nothing to count.
func (p *Prompt) Release() { p.Segments = nil }
