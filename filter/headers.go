package filter

import (
	"strconv"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"

	"keel/filter/frame"
)

// headerMap reads the headers of a message where they lie: few of them are asked for. It is a wire.Header, for as long
// as the message is not answered.
type headerMap corev3.HeaderMap

// Get implements wire.Header.
func (m *headerMap) Get(name string) string {
	for _, h := range (*corev3.HeaderMap)(m).GetHeaders() {
		if isNamed(h, name) {
			return headerValue(h)
		}
	}
	return ""
}

// status is that of a response, 0 where there is none.
func (m *headerMap) status() (status int) {
	status, _ = strconv.Atoi(m.Get(":status"))
	return status
}

// loggedHeaders are those of a line of the access log. They are a wire.Header until the line is forgotten.
type loggedHeaders []frame.Header

// Get implements wire.Header. A line has a map of headers: of entries with one key the last counts.
func (l *loggedHeaders) Get(name string) string {
	for i := len(*l) - 1; i >= 0; i-- {
		if h := &(*l)[i]; len(h.Name) == len(name) && strings.EqualFold(string(h.Name), name) {
			return string(h.Value)
		}
	}
	return ""
}

// isNamed reports whether a header has that name, which is ASCII, in any case.
func isNamed(h *corev3.HeaderValue, name string) bool {
	return len(h.Key) == len(name) && strings.EqualFold(h.Key, name)
}

func headerValue(h *corev3.HeaderValue) string {
	if len(h.RawValue) > 0 {
		return string(h.RawValue)
	}
	return h.Value
}
