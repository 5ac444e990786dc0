package envoy

import (
	"strings"

	xdscorev3 "github.com/cncf/xds/go/xds/core/v3"
	matcherv3 "github.com/cncf/xds/go/xds/type/matcher/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	matchingv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/common/matching/v3"
	compositev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/composite/v3"
	extprocv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/ext_proc/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	typematcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"
)

// changeFilter stands behind the filter of ext_authz, which can replace no body, and is not made for a call that goes out as it
// came: one that is made and then skipped costs each call a tenth of what the check does. It is chosen by the target, not by a route: the call is matched to its route again when it is changed, and until then to none
// that leads anywhere.
func (b *builder) changeFilter() *hcmv3.HttpFilter {
	filter := b.any(&extprocv3.ExternalProcessor{
		StatPrefix:  statPrefix + "_change",
		GrpcService: b.streams(PhaseChange),
		ProcessingMode: &extprocv3.ProcessingMode{
			RequestHeaderMode:   extprocv3.ProcessingMode_SEND, // else the length of the new body could not be told
			RequestBodyMode:     extprocv3.ProcessingMode_BUFFERED,
			RequestTrailerMode:  extprocv3.ProcessingMode_SKIP,
			ResponseHeaderMode:  extprocv3.ProcessingMode_SKIP,
			ResponseTrailerMode: extprocv3.ProcessingMode_SKIP,
		},
		MessageTimeout:   durationpb.New(messageTimeout),
		FailureModeAllow: false,
		StatusOnError:    &typev3.HttpStatus{Code: typev3.StatusCode_ServiceUnavailable},
		MetadataOptions: &extprocv3.MetadataOptions{
			ForwardingNamespaces: &extprocv3.MetadataOptions_MetadataNamespaces{Untyped: []string{AuthzNamespace}},
		},
		MutationRules: mutationRules(),
	})
	target := b.matches(TargetHeader, &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_Prefix{Prefix: ChangeTarget}})
	change := b.xds("filter", &compositev3.ExecuteFilterAction{TypedConfig: &corev3.TypedExtensionConfig{Name: "envoy.filters.http.ext_proc", TypedConfig: filter}})
	return &hcmv3.HttpFilter{Name: ChangeFilterName, ConfigType: &hcmv3.HttpFilter_TypedConfig{TypedConfig: b.any(&matchingv3.ExtensionWithMatcher{
		ExtensionConfig: &corev3.TypedExtensionConfig{Name: "envoy.filters.http.composite", TypedConfig: b.any(&compositev3.Composite{})},
		XdsMatcher: &matcherv3.Matcher{MatcherType: &matcherv3.Matcher_MatcherList_{MatcherList: &matcherv3.Matcher_MatcherList{
			Matchers: []*matcherv3.Matcher_MatcherList_FieldMatcher{{Predicate: target, OnMatch: &matcherv3.Matcher_OnMatch{OnMatch: &matcherv3.Matcher_OnMatch_Action{Action: change}}}},
		}}},
	})}}
}

// matches is that a request has a header that is so.
func (b *builder) matches(header string, value *matcherv3.StringMatcher) *matcherv3.Matcher_MatcherList_Predicate {
	return &matcherv3.Matcher_MatcherList_Predicate{MatchType: &matcherv3.Matcher_MatcherList_Predicate_SinglePredicate_{
		SinglePredicate: &matcherv3.Matcher_MatcherList_Predicate_SinglePredicate{
			Input:   b.xds(strings.TrimPrefix(header, ":"), &typematcherv3.HttpRequestHeaderMatchInput{HeaderName: header}),
			Matcher: &matcherv3.Matcher_MatcherList_Predicate_SinglePredicate_ValueMatch{ValueMatch: value},
		},
	}}
}

func (b *builder) xds(name string, m proto.Message) *xdscorev3.TypedExtensionConfig {
	packed, err := anypb.New(m)
	if err != nil && b.err == nil {
		b.err = err
	}
	return &xdscorev3.TypedExtensionConfig{Name: name, TypedConfig: packed}
}
