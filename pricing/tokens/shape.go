package tokens

import "encoding/json"

// Shape is a Prompt in sizes: what a record may keep, because it holds no text.
type Shape struct {
	Task       string           `json:"task"`
	Messages   int64            `json:"messages"`
	Bytes      map[string]int64 `json:"bytes,omitempty"` // of the segments as they stood in the body, by class
	Tools      int64            `json:"tools,omitempty"`
	ToolChoice bool             `json:"tool_choice,omitempty"`
	TokenIDs   int64            `json:"token_ids,omitempty"`
	Images     []ImageShape     `json:"images,omitempty"`
	Media      []MediaShape     `json:"media,omitempty"`
	Thinking   bool             `json:"thinking,omitempty"`
	Citations  int64            `json:"citations,omitempty"`
	Hosted     string           `json:"hosted,omitempty"`
}

// ImageShape is an Image as records name its fields.
type ImageShape struct {
	Width  int64  `json:"width"` // pixels, 0 where unknown
	Height int64  `json:"height"`
	Detail string `json:"detail,omitempty"`
	Bytes  int64  `json:"bytes"` // of base64
}

// MediaShape is a Media as records name its fields.
type MediaShape struct {
	Kind   string `json:"kind"`
	Bytes  int64  `json:"bytes"` // of base64
	Pages  int64  `json:"pages,omitempty"`
	Millis int64  `json:"milliseconds,omitempty"`
}

// maxListed is how many images and media a Shape lists: a record stays small
// whatever the request holds.
const maxListed = 64

// Shape returns the sizes of p. Ask before Release.
func (p *Prompt) Shape() Shape {
	s := Shape{
		Task: p.Task.String(), Messages: p.Messages, Tools: p.Tools, ToolChoice: p.ToolChoice, TokenIDs: p.TokenIDs,
		Thinking: p.Thinking, Citations: p.Citations, Hosted: p.Hosted,
	}
	var bytes [NumClasses]int64
	for _, segment := range p.Segments {
		bytes[segment.Class] += int64(len(segment.JSON))
	}
	for class, n := range bytes {
		if n > 0 {
			if s.Bytes == nil {
				s.Bytes = make(map[string]int64, NumClasses)
			}
			s.Bytes[Class(class).String()] = n
		}
	}
	for _, i := range p.Images[:min(len(p.Images), maxListed)] {
		s.Images = append(s.Images, ImageShape(i))
	}
	for _, m := range p.Media[:min(len(p.Media), maxListed)] {
		s.Media = append(s.Media, MediaShape{m.Kind.String(), m.Bytes, m.Pages, m.Millis})
	}
	return s
}

// MarshalJSON writes the Shape: the text of a prompt is never written anywhere.
func (p *Prompt) MarshalJSON() ([]byte, error) { return json.Marshal(p.Shape()) }

var taskNames = [...]string{
	Generate: "generate", Embed: "embed", Rerank: "rerank", Count: "count", Moderate: "moderate", Draw: "draw",
	Speak: "speak", Transcribe: "transcribe", Read: "read", Retrieve: "retrieve", Store: "store",
}

// String returns the name that records use.
func (t Task) String() string { return taskNames[t] }

var classNames = [NumClasses]string{
	Text: "text", ToolCall: "tool_call", ToolResult: "tool_result", ToolSchema: "tool_schema", Schema: "schema", Hidden: "hidden",
}

// String returns the name that records use.
func (c Class) String() string { return classNames[c] }

var mediaNames = [...]string{Document: "document", Audio: "audio", Video: "video"}

// String returns the name that records use.
func (k MediaKind) String() string { return mediaNames[k] }
