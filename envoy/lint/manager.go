package lint

import (
	"slices"

	"keel/envoy"
)

// judgeManager judges what a filter can't say of itself: its place in the list, the
// routes it runs on, and the log beside it.
func (l *linter) judgeManager(m *manager) {
	l.discovered(m)
	judged := l.judged(m)
	if len(judged) == 0 {
		if l.attachedElsewhere() {
			l.judgeBypass(m)
			return
		}
		l.find(notAttached, m.node.at("http_filters"), "no filter of Keel is in the list")
		return
	}
	l.judgeOrder(m, judged)
	l.judgeCredentials(m.filters)
	l.judgeAccessLog(m, judged)
	running := slices.DeleteFunc(slices.Clone(judged), func(f *filter) bool { return f.node.get("disabled").yes() })
	if len(running) > 1 {
		l.find(twice, running[1].node, "%s follows %s", running[1].shown(), running[0].shown())
	}
	for _, f := range judged {
		l.judgeRoutes(m, f)
	}
}

// discovered tells of filters that come by xDS.
func (l *linter) discovered(m *manager) {
	for _, f := range m.filters {
		if f.get("config_discovery") != nil {
			l.unseen("", f, "filter "+f.get("name").text()+" comes by xDS: it is not judged")
		}
	}
}

// attachedElsewhere reports whether another manager has the filter.
func (l *linter) attachedElsewhere() bool {
	return slices.ContainsFunc(l.filters, func(f *filter) bool { return f.judged && f.manager != nil })
}

// judgeBypass looks for ways around the filter: a listener without it that leads to the same clusters.
func (l *linter) judgeBypass(m *manager) {
	metered := map[string]bool{}
	for _, other := range l.managers {
		if len(l.judged(other)) == 0 {
			continue
		}
		for _, r := range routesOf(other) {
			for _, cluster := range targets(r.action()) {
				metered[cluster.text()] = true
			}
		}
	}
	for _, r := range routesOf(m) {
		for _, cluster := range targets(r.action()) {
			if metered[cluster.text()] {
				l.find(routeNotCovered, r.node, "route %s leads to cluster %s past the filter, which is not in this listener", r.shown(), cluster.text())
			}
		}
	}
}

// judgeOrder looks at what stands before and behind the filters that are judged.
func (l *linter) judgeOrder(m *manager, judged []*filter) {
	for _, f := range judged {
		if f.logged() {
			l.judgeUsageOrder(m)
		}
		at := slices.Index(m.filters, f.node)
		for _, other := range m.filters[at+1:] {
			if other.get("typed_config").typeName() == msgJWT && !other.get("disabled").yes() {
				l.find(claimsUnseen, other, "%s stands behind %s", other.get("name").text(), f.shown())
			}
		}
		if f.authz {
			continue
		}
		mode := responseMode(f.config.get("processing_mode"))
		seesBody := mode != "NONE" && !f.config.get("observability_mode").yes()
		for i, other := range m.filters {
			config := other.get("typed_config")
			switch {
			case config.typeName() == msgDecompressor && !other.get("disabled").yes() && decodesResponses(config):
				if i < at {
					l.find(decompressorFirst, other, "%s stands before %s", other.get("name").text(), f.shown())
				} else if seesBody {
					l.find(decompressorHangs, other, "%s stands behind %s, which has response_body_mode %s", other.get("name").text(), f.shown(), mode)
				}
			case config.typeName() == msgAIProtocol && seesBody && synthesizes(config):
				l.find(trailersHang, config.at("response_handling", "token_usage", "usage_signal"), "%s adds trailers, and %s has response_body_mode %s", other.get("name").text(), f.shown(), mode)
			case i < at && other.mentions(envoy.TargetHeader):
				l.find(targetTrusted, other, "%s reads %s before %s has set it", other.get("name").text(), envoy.TargetHeader, f.shown())
			}
		}
	}
}

// judgeUsageOrder looks for decompressors around the filter that reads usage in JSON, which holds an answer
// until it is whole.
func (l *linter) judgeUsageOrder(m *manager) {
	at := slices.IndexFunc(m.filters, func(n *node) bool { return wrapped(n).typeName() == msgJSONToMetadata })
	for i, other := range m.filters {
		if config := other.get("typed_config"); at < 0 || i < at || config.typeName() != msgDecompressor || other.get("disabled").yes() || !decodesResponses(config) {
			continue
		}
		l.find(decompressorHangs, other, "%s stands behind %s, which holds an answer until it is whole", other.get("name").text(), m.filters[at].get("name").text())
	}
}

// decodesResponses is false for a decompressor of requests only.
func decodesResponses(config *node) bool {
	return !config.get("response_direction_config", "common_config", "enabled", "default_value").is("false")
}

func synthesizes(config *node) bool {
	return config.get("response_handling", "token_usage", "usage_signal").is("SYNTHESIZE_TRAILERS")
}

// judgeAccessLog looks for the log that tells Keel how calls end.
func (l *linter) judgeAccessLog(m *manager, judged []*filter) {
	var logs []*node
	for _, log := range m.node.get("access_log").list() {
		if log.get("typed_config").typeName() == msgAccessLog {
			logs = append(logs, log)
		}
	}
	if len(logs) == 0 {
		l.find(accessLogMissing, m.node.at("access_log"), "no access log goes to a gRPC service")
		return
	}
	if i := slices.IndexFunc(logs, isKeelLog); i >= 0 {
		logs = logs[i : i+1]
	}
	for _, log := range logs {
		if filter := log.get("filter"); filter != nil {
			l.find(accessLogSampled, filter, "the access log has a filter")
		}
		common := log.get("typed_config", "common_config")
		l.judgeLogName(common.get("log_name"), wantsLog(judged))
		for _, f := range judged {
			if !f.authz && !tellsState(common, f.name()) {
				l.find(accessLogState, common.at("custom_tags"), "the access log does not tell the state of %s", f.shown())
			}
		}
	}
}

// tellsState reports whether an access log tells whether a filter failed open: by a tag, or in the whole of its state.
func tellsState(common *node, filter string) bool {
	return slices.Contains(common.get("filter_state_objects_to_log").texts(), filter) ||
		slices.ContainsFunc(common.get("custom_tags").list(), func(tag *node) bool {
			return tag.get("tag").is(envoy.StateTag+envoy.FailedOpen) && tag.get("value").is(envoy.StateOf(filter, envoy.FailedOpen))
		})
}

func isKeelLog(log *node) bool {
	name := log.get("typed_config", "common_config", "log_name")
	return name.is(envoy.LogName) || name.is(envoy.PassiveLogName)
}
