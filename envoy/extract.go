package envoy

import (
	_ "embed"
	"fmt"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	luav3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/lua/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
)

// Usage that Envoy itself reads in an answer, for modes in which answers do not pass Keel.
//
// It is a filter of Lua, which takes usage as it stands, lists and all, and a text or two beside it. json_to_metadata needs a rule for each number, of
// which Envoy spends 1 to 4 µs on each, and holds an answer until it is whole; sse_to_metadata makes a tree of each event, and is marked as
// work in progress: together they cost a call of 1 KB more than twice as much (measured on 1.40). Not ai_protocol_manager: it sums up what is priced apart (cache writes
// by their lifetime, sound and images), knows no service tier and no cost, and tells nothing of a stream that was cut.
const (
	UsageNamespace = "keel.usage"

	// UsageName is the name of the filter.
	UsageName = "keel.usage"
)

// usageScript is what the filter does.
//
//go:embed usage.lua
var usageScript string

// usageFilter reads usage in answers, behind the filter of Keel.
func (b *builder) usageFilter() *hcmv3.HttpFilter {
	return &hcmv3.HttpFilter{Name: UsageName, ConfigType: &hcmv3.HttpFilter_TypedConfig{TypedConfig: b.any(&luav3.Lua{
		DefaultSourceCode: &corev3.DataSource{Specifier: &corev3.DataSource_InlineString{InlineString: usageScript}},
		StatPrefix:        "keel",
	})}}
}

// answerHeaders are what Keel says of a call in the headers of its answer. Where the answer does not pass the filter,
// Envoy takes them from the metadata of the call.
var answerHeaders = []string{"x-keel-decision-id", "x-keel-estimated-cost-usd", "x-keel-model", "x-keel-requested-cost-usd", "x-keel-warning"}

func headersFromMetadata() []*corev3.HeaderValueOption {
	var headers []*corev3.HeaderValueOption
	for _, name := range answerHeaders {
		headers = append(headers, &corev3.HeaderValueOption{
			Header:       &corev3.HeaderValue{Key: name, Value: fmt.Sprintf("%%DYNAMIC_METADATA(%s:%s)%%", MetadataNamespace, name)},
			AppendAction: corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD,
		})
	}
	return headers
}
