package envoy

import (
	"fmt"
	"slices"
	"strings"

	matcherv3 "github.com/cncf/xds/go/xds/type/matcher/v3"

	xdscorev3 "github.com/cncf/xds/go/xds/core/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	matchingv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/common/matching/v3"
	jsonparserv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/content_parsers/json/v3"
	skipv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/common/matcher/action/v3"
	compositev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/composite/v3"
	jsonv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/json_to_metadata/v3"
	ssev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/sse_to_metadata/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	typematcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// Usage that Envoy itself reads in an answer, for modes in which answers do not pass Keel. Each value goes
// to the metadata UsageNamespace under its path in the body.
//
// json_to_metadata takes numbers and strings one by one, and sse_to_metadata whole objects, as JSON in a string (proven on 1.40): a
// key that ends in {} says so. Not ai_protocol_manager: it sums up what is priced apart (cache writes by their lifetime,
// sound and images), knows no service tier and no cost, and tells nothing of a stream that was cut.
const (
	UsageNamespace = "keel.usage"

	// UsageJSONName and UsageSSEName are the names of the two filters.
	UsageJSONName = "keel.usage.json"
	UsageSSEName  = "keel.usage.sse"

	// maxEvent is the most that sse_to_metadata takes. The last event of a Responses stream has the whole response.
	maxEvent = 10 << 20
)

// usage is where answers have what they used, and what that is priced by: in a body in one piece, and in the events of a stream, of which
// a later one goes over an earlier one. {a,b} is either. A rule that finds nothing costs Envoy most (about 0.7 µs), so the APIs
// that most calls are to have rules of their own.
type usage struct {
	path          string // what matches the path of a request, without its query
	whole, events []string
}

var (
	costPaths = []string{"usage.{cost,cost_in_usd_ticks,market_cost,is_byok}", "usage.cost.total_cost", "usage.cost_details.upstream_inference_cost"}
	toolPaths = []string{
		"usage.server_side_tool_usage_details.{web_search_calls,x_search_calls,file_search_calls,document_search_calls,code_interpreter_calls}",
		"usage.server_tool_use_details.{web_search_requests,tool_calls_executed}",
	}
	responsesPaths = []string{
		"id", "model", "service_tier", "usage.{input_tokens,output_tokens,total_tokens}",
		"usage.input_tokens_details.{cached_tokens,cache_write_tokens,audio_tokens,image_tokens}",
		"usage.input_tokens_details.cached_tokens_details.{audio_tokens,image_tokens}",
		"usage.output_tokens_details.{reasoning_tokens,audio_tokens,image_tokens,text_tokens}",
		"tool_usage.web_search.num_requests", "tool_usage.image_gen.{input_tokens,output_tokens,total_tokens}",
		"tool_usage.image_gen.{input_tokens_details,output_tokens_details}.{image_tokens,text_tokens}",
	}
	chatPaths = []string{
		"id", "model", "service_tier", "usage.{prompt_tokens,completion_tokens,total_tokens}",
		"usage.prompt_tokens_details.{cached_tokens,cache_write_tokens,audio_tokens,image_tokens,video_tokens}",
		"usage.prompt_tokens_details.cached_tokens_details.{audio_tokens,image_tokens}",
		"usage.completion_tokens_details.{reasoning_tokens,audio_tokens,image_tokens,text_tokens}",
		"usage.{prompt_cache_hit_tokens,cached_tokens,num_cached_tokens,reasoning_tokens,citation_tokens,connector_tokens}",
		"usage.{cache_read_input_tokens,cache_creation_input_tokens,service_tier,prompt_audio_seconds,num_search_queries,search_context_size}",
	}
	anthropicPaths = []string{
		"id", "model", "usage.{input_tokens,output_tokens,cache_read_input_tokens,cache_creation_input_tokens,service_tier,inference_geo,speed}",
		"usage.cache_creation.{ephemeral_5m_input_tokens,ephemeral_1h_input_tokens}",
		"usage.output_tokens_details.thinking_tokens", "usage.server_tool_use.web_search_requests",
	}
	geminiPaths = []string{
		"modelVersion", "responseId",
		"usageMetadata.{promptTokenCount,toolUsePromptTokenCount,candidatesTokenCount,thoughtsTokenCount,cachedContentTokenCount,totalTokenCount,serviceTier,trafficType}",
	}
	otherPaths = []string{ // transcriptions and images; Bedrock Converse, Cohere, Ollama
		"usage.seconds", "usage.{inputTokens,outputTokens,totalTokens,cacheReadInputTokens,cacheWriteInputTokens}",
		"meta.billed_units.{input_tokens,output_tokens,search_units,images,classifications}", "meta.tokens.{input_tokens,output_tokens}",
		"usage.billed_units.{input_tokens,output_tokens}", "usage.tokens.{input_tokens,output_tokens}",
		"{prompt_eval_count,eval_count}",
	}

	chatEvents      = []string{"id", "model", "service_tier", "usage{}", "x_groq.usage{}"}
	anthropicEvents = []string{"message.id", "message.model", "message.usage{}", "usage{}", "delta.stop_reason"}
	responsesEvents = []string{"response.id", "response.model", "response.service_tier", "response.status", "response.usage{}", "response.tool_usage{}"}
	geminiEvents    = []string{"modelVersion", "responseId", "usageMetadata{}"}
)

// usages are asked in order; calls that none is for have all rules, the last.
var usages = []usage{
	{`[^?]*/chat/completions`, slices.Concat(chatPaths, costPaths, toolPaths), chatEvents},
	{`[^?]*/messages`, anthropicPaths, anthropicEvents},
	{`[^?]*/responses(/[^/]*)?`, slices.Concat(responsesPaths, costPaths, toolPaths), responsesEvents},
	{`[^?]*:(generateContent|streamGenerateContent)`, geminiPaths, geminiEvents},
	{"", slices.Concat(chatPaths, responsesPaths, costPaths, toolPaths, anthropicPaths, geminiPaths, otherPaths), slices.Concat(chatEvents, anthropicEvents, responsesEvents, geminiEvents)},
}

// expand writes out the alternatives of a path.
func expand(path string) []string {
	open := strings.IndexByte(path, '{')
	if open < 0 || strings.HasPrefix(path[open:], "{}") {
		return []string{path}
	}
	end := open + strings.IndexByte(path[open:], '}')
	var all []string
	for one := range strings.SplitSeq(path[open+1:end], ",") {
		all = append(all, expand(path[:open]+one+path[end+1:])...)
	}
	return all
}

func usageRules(paths []string) []*jsonv3.JsonToMetadata_Rule {
	var rules []*jsonv3.JsonToMetadata_Rule
	seen := map[string]bool{}
	for _, pattern := range paths {
		for _, path := range expand(pattern) {
			if seen[path] {
				continue
			}
			seen[path] = true
			rule := &jsonv3.JsonToMetadata_Rule{OnPresent: &jsonv3.JsonToMetadata_KeyValuePair{MetadataNamespace: UsageNamespace, Key: path}}
			for step := range strings.SplitSeq(strings.TrimSuffix(path, "{}"), ".") {
				rule.Selectors = append(rule.Selectors, &jsonv3.JsonToMetadata_Selector{Selector: &jsonv3.JsonToMetadata_Selector_Key{Key: step}})
			}
			rules = append(rules, rule)
		}
	}
	return rules
}

// arrayStreams are answers that come piece by piece and are JSON all the same: Gemini's streams, unless events were asked for.
const arrayStreams = `[^?]*:streamGenerateContent(\?.*)?`

const eventsAsked = `[^?]*\?(.*&)?alt=sse(&.*)?`

// usageFilters read usage in answers, behind the filter of Keel.
func (b *builder) usageFilters() []*hcmv3.HttpFilter {
	whole := func(u usage) *corev3.TypedExtensionConfig {
		return &corev3.TypedExtensionConfig{Name: "envoy.filters.http.json_to_metadata", TypedConfig: b.any(&jsonv3.JsonToMetadata{
			ResponseRules: &jsonv3.JsonToMetadata_MatchRules{
				Rules:                  usageRules(u.whole),
				AllowContentTypesRegex: &typematcherv3.RegexMatcher{Regex: "application/json.*"},
			},
		})}
	}
	events := func(u usage) *corev3.TypedExtensionConfig {
		var rules []*jsonparserv3.JsonContentParser_RuleConfig
		for _, rule := range usageRules(u.events) {
			rules = append(rules, &jsonparserv3.JsonContentParser_RuleConfig{Rule: rule})
		}
		return &corev3.TypedExtensionConfig{Name: "envoy.filters.http.sse_to_metadata", TypedConfig: b.any(&ssev3.SseToMetadata{
			ResponseRules: &ssev3.SseToMetadata_ProcessingRules{MaxEventSize: wrapperspb.UInt32(maxEvent), ContentParser: &corev3.TypedExtensionConfig{
				Name: "envoy.content_parsers.json", TypedConfig: b.any(&jsonparserv3.JsonContentParser{Rules: rules}),
			}},
		})}
	}
	return []*hcmv3.HttpFilter{
		b.byPath(UsageJSONName, whole, on(both(b.path(arrayStreams), not(b.path(eventsAsked))), b.xds("skip", &skipv3.SkipFilter{}))),
		b.byPath(UsageSSEName, events),
	}
}

// byPath is a filter that is made for each call by the path that it is to.
func (b *builder) byPath(name string, of func(usage) *corev3.TypedExtensionConfig, before ...*matcherv3.Matcher_MatcherList_FieldMatcher) *hcmv3.HttpFilter {
	list := &matcherv3.Matcher_MatcherList{Matchers: before}
	matcher := &matcherv3.Matcher{MatcherType: &matcherv3.Matcher_MatcherList_{MatcherList: list}}
	for _, u := range usages {
		filter := b.xds("filter", &compositev3.ExecuteFilterAction{TypedConfig: of(u)})
		if u.path == "" {
			matcher.OnNoMatch = &matcherv3.Matcher_OnMatch{OnMatch: &matcherv3.Matcher_OnMatch_Action{Action: filter}}
			break
		}
		list.Matchers = append(list.Matchers, on(b.path(u.path+`(\?.*)?`), filter))
	}
	return &hcmv3.HttpFilter{Name: name, ConfigType: &hcmv3.HttpFilter_TypedConfig{TypedConfig: b.any(&matchingv3.ExtensionWithMatcher{
		ExtensionConfig: &corev3.TypedExtensionConfig{Name: "envoy.filters.http.composite", TypedConfig: b.any(&compositev3.Composite{})},
		XdsMatcher:      matcher,
	})}}
}

// on is what is done for requests that are so.
func on(predicate *matcherv3.Matcher_MatcherList_Predicate, action *xdscorev3.TypedExtensionConfig) *matcherv3.Matcher_MatcherList_FieldMatcher {
	return &matcherv3.Matcher_MatcherList_FieldMatcher{Predicate: predicate, OnMatch: &matcherv3.Matcher_OnMatch{OnMatch: &matcherv3.Matcher_OnMatch_Action{Action: action}}}
}

// path is that the path of a request is so.
func (b *builder) path(regex string) *matcherv3.Matcher_MatcherList_Predicate {
	return b.matches(":path", &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_SafeRegex{SafeRegex: &matcherv3.RegexMatcher{
		EngineType: &matcherv3.RegexMatcher_GoogleRe2{GoogleRe2: &matcherv3.RegexMatcher_GoogleRE2{}}, Regex: regex,
	}}})
}

func (b *builder) xds(name string, m proto.Message) *xdscorev3.TypedExtensionConfig {
	packed, err := anypb.New(m)
	if err != nil && b.err == nil {
		b.err = err
	}
	return &xdscorev3.TypedExtensionConfig{Name: name, TypedConfig: packed}
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
