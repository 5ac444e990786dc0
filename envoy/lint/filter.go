package lint

import (
	"slices"
	"strings"
	"time"

	"keel/envoy"
)

// A filter is an ext_proc or ext_authz filter, wherever it was found.
type filter struct {
	node     *node // with its name; for what has none, its configuration
	config   *node
	upstream bool // in a cluster
	authz    bool
	judged   bool // it is what attaches Keel
	manager  *manager
	object   *object // the manifest that it is in
}

func (f *filter) name() string { return f.node.get("name").text() }

// shown is how a message names a filter.
func (f *filter) shown() string {
	if name := f.name(); name != "" {
		return name
	}
	return map[bool]string{false: "ext_proc", true: "ext_authz"}[f.authz]
}

// isKeel reports whether a filter says that it is Keel's.
func (f *filter) isKeel() bool {
	if strings.HasPrefix(f.name(), "keel") {
		return true
	}
	for _, h := range f.config.get("grpc_service", "initial_metadata").list() {
		if h.get("key").is(envoy.PhaseKey) {
			return true
		}
	}
	return strings.Contains(f.processor(), "keel")
}

// processor is the cluster that a filter calls.
func (f *filter) processor() string {
	return f.config.get("grpc_service", "envoy_grpc", "cluster_name").text()
}

// phase is where a filter says that it stands: without a word, Keel takes it for the one at the router.
func (f *filter) phase() (phase string, at *node) {
	for _, h := range f.config.get("grpc_service", "initial_metadata").list() {
		if h.get("key").is(envoy.PhaseKey) {
			return h.get("value").text(), h
		}
	}
	return envoy.PhaseRouter, f.config.at("grpc_service", "initial_metadata")
}

// logged reports whether answers do not pass the filter, so that Envoy has to read what they used.
func (f *filter) logged() bool {
	phase, _ := f.phase()
	return f.authz || phase == envoy.PhaseLight
}

// newFilter makes a filter of a node with name and typed_config; nil if it is of another kind.
func newFilter(n *node, upstream bool) *filter {
	config := n.get("typed_config")
	switch config.typeName() {
	case msgExtProc:
		return &filter{node: n, config: config, upstream: upstream}
	case msgExtAuthz:
		return &filter{node: n, config: config, upstream: upstream, authz: true}
	}
	return nil
}

// findFilters finds all filters and chooses those that are judged: those that say that they
// are Keel's, or all ext_proc filters where none says so. ext_authz is judged only where
// there is no ext_proc, since a mesh asks others by it too.
func (l *linter) findFilters() {
	for _, m := range l.managers {
		l.routeConfig(m)
		for _, n := range m.filters {
			if f := newFilter(n, false); f != nil {
				f.manager = m
				l.filters = append(l.filters, f)
			}
		}
	}
	for _, name := range sorted(l.clusters) {
		for _, n := range clusterFilters(l.clusters[name]) {
			if f := newFilter(n, true); f != nil {
				l.filters = append(l.filters, f)
			}
		}
	}
	l.patchFilters()
	l.policyFilters()
	marked, extProc := false, false
	for _, f := range l.filters {
		marked = marked || f.isKeel()
		extProc = extProc || !f.authz
	}
	for _, p := range l.policies("EnvoyExtensionPolicy") {
		marked = marked || policyIsKeel(p)
		extProc = true
	}
	for _, f := range l.filters {
		switch {
		case marked:
			f.judged = f.isKeel()
		case extProc:
			f.judged = !f.authz
		default:
			f.judged = f.authz
		}
		if !f.judged {
			l.unseen("", f.node, "filter "+f.shown()+" is not Keel's: it is not judged")
		}
	}
	for _, p := range l.policies("EnvoyExtensionPolicy") {
		p.judged = !marked || policyIsKeel(p)
	}
}

// clusterFilters are the filters that every attempt at a cluster passes.
func clusterFilters(cluster *node) []*node {
	for _, f := range cluster.get("typed_extension_protocol_options").values() {
		if f.typeName() == msgOptions {
			return f.get("http_filters").list()
		}
	}
	return nil
}

// judged filters of a manager, in order.
func (l *linter) judged(m *manager) []*filter {
	var some []*filter
	for _, f := range l.filters {
		if f.manager == m && f.judged {
			some = append(some, f)
		}
	}
	return some
}

func (l *linter) judgeFilter(f *filter) {
	if f.authz {
		l.judgeAuthz(f)
		return
	}
	if f.observes() {
		l.judgeObserver(f)
		return
	}
	c := f.config
	if v := c.get("failure_mode_allow"); v.yes() {
		l.find(failsOpen, v, "failure_mode_allow is true on %s", f.shown())
	}
	if v := c.get("observability_mode"); v.yes() {
		l.find(observesOnly, v, "observability_mode is true on %s", f.shown())
	}
	if c.get("http_service") != nil || c.get("grpc_service", "google_grpc") != nil {
		l.unseen(breakerDefault, c.at("grpc_service"), "the processor is called past Envoy's clusters: its limits and health checks are not judged")
	}
	l.judgePhase(f)
	if f.logged() {
		l.judgeExtraction(f)
	}
	l.judgeMetadata(f)
	l.judgeModes(c.get("processing_mode"), c, f)
	if !c.get("allow_mode_override").yes() {
		l.find(modeOverride, c.at("allow_mode_override"), "%s can't change the mode of a call", f.shown())
	}
	if mode := responseMode(c.get("processing_mode")); (mode == "STREAMED" || mode == "FULL_DUPLEX_STREAMED") && !c.get("allow_content_length_header").yes() {
		l.find(contentLength, c.at("allow_content_length_header"), "allow_content_length_header is not set on %s", f.shown())
	}
	l.judgeTimeout(c.at("message_timeout"), c.get("message_timeout"), 200*time.Millisecond, "message_timeout")
	if c.get("status_on_error") == nil {
		l.find(statusOnError, c, "%s has no status_on_error", f.shown())
	}
	l.judgeRefused(c, f.shown())
	for _, list := range []string{"request_attributes", "response_attributes"} {
		l.judgeAttributes(c, list)
	}
	const number = "upstream.request_attempt_count"
	if f.upstream && !slices.Contains(c.get("request_attributes").texts(), number) {
		l.find(attemptAttributes, c.at("request_attributes"), "%s does not ask for %s", f.shown(), number)
	}
	if d, ok := c.get("grpc_service", "timeout").duration(); ok && d > 0 && d < time.Minute {
		l.find(processorTimeout, c.get("grpc_service", "timeout"), "grpc_service.timeout is %v", d)
	}
}

// judgePhase holds a filter to saying where it stands.
func (l *linter) judgePhase(f *filter) {
	phase, at := f.phase()
	if phase == envoy.PhaseLight && !f.upstream {
		return
	}
	want := map[bool]string{false: envoy.PhaseRouter, true: envoy.PhaseUpstream}[f.upstream]
	if phase != want {
		l.find(phaseMissing, at, "%s counts as %s: %s, and stands in a %s", f.shown(), envoy.PhaseKey, phase, map[bool]string{false: "listener", true: "cluster"}[f.upstream])
	}
}

func (l *linter) judgeMetadata(f *filter) {
	lists := []string{"receiving_namespaces"}
	if f.upstream || l.hasAttempts() {
		lists = append(lists, "forwarding_namespaces")
	}
	for _, list := range lists {
		spaces := f.config.get("metadata_options", list, "untyped")
		if !slices.Contains(spaces.texts(), envoy.MetadataNamespace) {
			l.find(metadataLost, f.config.at("metadata_options", list, "untyped"), "%s has no %q in %s", f.shown(), envoy.MetadataNamespace, list)
		}
	}
}

// hasAttempts reports whether attempts pass Keel, too, which add to what travels with their call.
func (l *linter) hasAttempts() bool {
	return slices.ContainsFunc(l.filters, func(f *filter) bool { return f.judged && f.upstream })
}

// minTimeout is what a decision may take.
const minTimeout = 2 * time.Second

func (l *linter) judgeTimeout(at, v *node, missing time.Duration, name string) {
	d, ok := v.duration()
	switch {
	case v == nil && missing <= minTimeout:
		l.find(messageTimeout, at, "%s is not set: %v", name, missing)
	case ok && d <= minTimeout:
		l.find(messageTimeout, v, "%s is %v", name, d)
	}
}

// judgeModes judges a processing_mode: of a filter, or of a route that overrides it.
func (l *linter) judgeModes(mode, owner *node, f *filter) {
	at := func(name string) *node {
		if mode == nil {
			return owner
		}
		return mode.at(name)
	}
	light := f.logged()
	for _, name := range []string{"request_header_mode", "response_header_mode"} {
		if mode.get(name).is("SKIP") && !(light && name == "response_header_mode") {
			l.find(headersSkipped, at(name), "%s is SKIP", name)
		}
	}
	request, response := requestMode(mode), responseMode(mode)
	if f.upstream {
		// An attempt needs its headers; what it asks of bodies, it asks by itself.
		if response != "NONE" && !mode.get("response_trailer_mode").is("SEND") {
			l.find(trailersSkipped, at("response_trailer_mode"), "response_trailer_mode is not SEND")
		}
		return
	}
	if request != "BUFFERED" {
		l.find(requestBody, at("request_body_mode"), "request_body_mode is %s", request)
	}
	if light {
		return
	}
	if response != "STREAMED" {
		l.find(responseBody, at("response_body_mode"), "response_body_mode is %s", response)
	}
	if !mode.get("response_trailer_mode").is("SEND") {
		l.find(trailersSkipped, at("response_trailer_mode"), "response_trailer_mode is not SEND")
	}
}

func requestMode(mode *node) string  { return orDefault(mode.get("request_body_mode").text(), "NONE") }
func responseMode(mode *node) string { return orDefault(mode.get("response_body_mode").text(), "NONE") }

func orDefault(text, otherwise string) string {
	if text == "" {
		return otherwise
	}
	return text
}

func sorted[T any](m map[string]T) []string {
	names := make([]string, 0, len(m))
	for name := range m {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}
