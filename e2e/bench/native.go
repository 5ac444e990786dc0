package main

import (
	"fmt"
	"strings"

	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	jsonparserv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/content_parsers/json/v3"
	jsonv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/json_to_metadata/v3"
	ssev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/sse_to_metadata/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"keel/envoy"
)

// What Envoy's own filters read in an answer of the provider here: numbers and texts one by one in a body, whole objects in an event.
var (
	nativeAnswer = []string{
		"id", "model", "service_tier", "usage.prompt_tokens", "usage.completion_tokens", "usage.total_tokens",
		"usage.prompt_tokens_details.cached_tokens", "usage.prompt_tokens_details.audio_tokens",
		"usage.completion_tokens_details.reasoning_tokens", "usage.completion_tokens_details.audio_tokens",
	}
	nativeEvent = []string{"id", "model", "service_tier", "usage"}
)

// nativeUsage has Envoy's own filters in the place of Keel's.
func nativeUsage(b *bootstrapv3.Bootstrap) error {
	events := &jsonparserv3.JsonContentParser{}
	for _, rule := range nativeRules(nativeEvent) {
		events.Rules = append(events.Rules, &jsonparserv3.JsonContentParser_RuleConfig{Rule: rule})
	}
	parser, err := anypb.New(events)
	if err != nil {
		return err
	}
	return manager(b, func(m *hcmv3.HttpConnectionManager) error {
		for i, f := range m.HttpFilters {
			if f.Name != envoy.UsageName {
				continue
			}
			var filters []*hcmv3.HttpFilter
			for _, config := range []proto.Message{
				&jsonv3.JsonToMetadata{ResponseRules: &jsonv3.JsonToMetadata_MatchRules{Rules: nativeRules(nativeAnswer)}},
				&ssev3.SseToMetadata{ResponseRules: &ssev3.SseToMetadata_ProcessingRules{ContentParser: &corev3.TypedExtensionConfig{
					Name: "envoy.content_parsers.json", TypedConfig: parser,
				}}},
			} {
				packed, err := anypb.New(config)
				if err != nil {
					return err
				}
				filters = append(filters, &hcmv3.HttpFilter{Name: string(config.ProtoReflect().Descriptor().Name()), ConfigType: &hcmv3.HttpFilter_TypedConfig{TypedConfig: packed}})
			}
			m.HttpFilters = append(m.HttpFilters[:i], append(filters, m.HttpFilters[i+1:]...)...)
			return nil
		}
		return fmt.Errorf("no filter %s", envoy.UsageName)
	})
}

func nativeRules(paths []string) (rules []*jsonv3.JsonToMetadata_Rule) {
	for _, path := range paths {
		rule := &jsonv3.JsonToMetadata_Rule{OnPresent: &jsonv3.JsonToMetadata_KeyValuePair{MetadataNamespace: envoy.UsageNamespace, Key: path}}
		for step := range strings.SplitSeq(path, ".") {
			rule.Selectors = append(rule.Selectors, &jsonv3.JsonToMetadata_Selector{Selector: &jsonv3.JsonToMetadata_Selector_Key{Key: step}})
		}
		rules = append(rules, rule)
	}
	return rules
}
