package budget

import (
	"cmp"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"unicode"

	"keel/budget/policy"
)

const (
	maxNameLength  = 128
	maxLabelLength = 512 // of a pattern or org, in bytes
)

// A document is any config document. The methods are on pointers.
type document interface {
	metadata() *Meta
	kind() Kind
	setDefaults()   // fills what the document may leave out
	check() faults  // everything that is wrong with it, by itself
	fields() object // as it is written, without kind, name and org
}

func (m *Meta) metadata() *Meta { return m }

func (*Budget) kind() Kind       { return KindBudget }
func (*Route) kind() Kind        { return KindRoute }
func (*Policy) kind() Kind       { return KindPolicy }
func (*ExchangeRate) kind() Kind { return KindExchangeRate }
func (*Price) kind() Kind        { return KindPrice }
func (*SubjectRule) kind() Kind  { return KindSubject }
func (*Settings) kind() Kind     { return KindSettings }

// A fault is one thing that is wrong with one field.
type fault struct {
	field string // path: limit, tiers[1].at, selector.team
	err   error
}

type faults []fault

func (f *faults) add(field string, err error) {
	if err != nil {
		*f = append(*f, fault{field, err})
	}
}

func (f *faults) addf(field, format string, args ...any) { f.add(field, fmt.Errorf(format, args...)) }

// err joins f, each fault with the name of its field; nil if there is none.
func (f faults) err() error {
	all := make([]error, len(f))
	for i, fault := range f {
		all[i] = fmt.Errorf("%s: %w", fault.field, fault.err)
	}
	return errors.Join(all...)
}

var namePattern = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]*$`)

func (m *Meta) setDefaults() {
	if m.Org == "" {
		m.Org = DefaultOrg
	}
}

func (m *Meta) check() (f faults) {
	switch {
	case m.Name == "":
		f.addf("name", "every document needs a name")
	case len(m.Name) > maxNameLength || !namePattern.MatchString(m.Name):
		f.addf("name", "name %q: use letters, digits, '.', '_' and '-', starting with a letter or digit, at most %d", m.Name, maxNameLength)
	}
	if len(m.Org) > maxLabelLength || strings.ContainsFunc(m.Org, func(r rune) bool { return !unicode.IsPrint(r) }) {
		f.addf("org", "org %q: use printable characters, at most %d bytes", m.Org, maxLabelLength)
	}
	return f
}

func oneOf[T ~string](f *faults, field string, value T, allowed ...T) {
	if !slices.Contains(allowed, value) {
		names := make([]string, len(allowed))
		for i, a := range allowed {
			names[i] = string(a)
		}
		f.addf(field, "%s %q: it is one of %s", field, value, strings.Join(names, ", "))
	}
}

func (b *Budget) setDefaults() {
	b.Meta.setDefaults()
	orDefault(&b.Timezone, "UTC")
	orDefault(&b.Mode, Enforce)
	orDefault(&b.Hold, HoldBound)
	orDefault(&b.Cut, CutNow)
	if b.Template {
		orDefault(&b.Window, "lifetime")
	}
	if !slices.IsSortedFunc(b.Tiers, byShare) {
		b.Tiers = slices.SortedStableFunc(slices.Values(b.Tiers), byShare)
	}
}

func byShare(a, b Tier) int { return a.AtPercent - b.AtPercent }

func orDefault[T ~string](field *T, value T) {
	if *field == "" {
		*field = value
	}
}

func (b *Budget) check() faults {
	f := b.Meta.check()
	for label, pattern := range b.Selector {
		f.add("selector."+label, checkLabel(label))
		_, err := parseGlob(pattern)
		f.add("selector."+label, err)
	}
	if b.Template && len(b.Per) == 0 {
		f.addf("template", "a template needs per: the labels that name a run, such as [session]")
	}
	if b.Limit < 0 {
		f.addf("limit", "a limit can't be negative; 0 USD refuses every call that costs something")
	}
	zone := b.Timezone
	if _, err := parseZone(zone); err != nil {
		f.add("timezone", err)
		zone = ""
	}
	_, err := ParseWindow(b.Window, zone)
	f.add("window", err)
	oneOf(&f, "mode", b.Mode, Observe, PreferCheap, Enforce)
	oneOf(&f, "hold", b.Hold, HoldBound, HoldExpected)
	if b.Offline != "" {
		oneOf(&f, "offline", b.Offline, OfflineDeny, OfflineAllowDebt)
	}
	oneOf(&f, "cut", b.Cut, CutNow, CutStrict)
	if b.OfflineDebt != nil && *b.OfflineDebt < 0 {
		f.addf("offline_debt", "a debt can't be negative; 0 USD allows none")
	}
	if b.OfflineDebt != nil && b.Offline == OfflineDeny {
		f.addf("offline_debt", "offline: deny allows no debt; write offline: allow_debt")
	}
	for i, tier := range b.Tiers {
		at := fmt.Sprintf("tiers[%d]", i)
		if tier.AtPercent < 1 || tier.AtPercent > 1000 {
			f.addf(at+".at", "at %d%%: a tier is at 1%% to 1000%% of the limit", tier.AtPercent)
		}
		if !slices.Contains([]Effect{Warn, EffectPreferCheap, EffectDeny}, tier.Do) {
			f.addf(at+".do", "do %q: it is one of warn, prefer-cheap, deny", tier.Do)
		}
		if slices.Contains(b.Tiers[:i], tier) {
			f.addf(at, "the tier is there twice")
		}
	}
	for i, label := range b.Per {
		at := fmt.Sprintf("per[%d]", i)
		f.add(at, checkLabel(label))
		if slices.Contains(b.Per[:i], label) {
			f.addf(at, "the label %q is there twice", label)
		}
	}
	return f
}

var labelPattern = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]{0,63}$`)

func checkLabel(label string) error {
	if !labelPattern.MatchString(label) {
		return fmt.Errorf("label %q: use letters, digits and '_', starting with a letter, at most 64", label)
	}
	return nil
}

func (r *Route) setDefaults() {
	r.Meta.setDefaults()
	orDefault(&r.Mode, Enforce)
	for i := range r.Targets {
		orDefault(&r.Targets[i].Quality, "1")
	}
}

func (r *Route) check() faults {
	f := r.Meta.check()
	if len(r.Models) == 0 {
		f.addf("models", "a route needs models: the names, or globs, that clients may ask for")
	}
	for i, model := range r.Models {
		at := fmt.Sprintf("models[%d]", i)
		_, err := parseGlob(model)
		f.add(at, err)
		if model == "" {
			f.addf(at, "a model needs a name")
		}
	}
	oneOf(&f, "mode", r.Mode, Observe, PreferCheap, Enforce)
	if r.MaxAttempts > MaxAttempts {
		f.addf("max_attempts", "%d attempts are more than %d: every call would hold that many times its bound", r.MaxAttempts, MaxAttempts)
	}
	least, err := parseQuality(r.MinQuality)
	f.add("min_quality", err)
	if len(r.Targets) == 0 {
		f.addf("targets", "a route needs targets: [{provider: …, model: …}]")
		return f
	}
	client := ""         // the provider whose credential clients bring
	enough := err != nil // of no quality that can be told
	for i, target := range r.Targets {
		at := fmt.Sprintf("targets[%d]", i)
		for field, value := range map[string]string{".provider": target.Provider, ".model": target.Model} {
			if value == "" || strings.Contains(value, "*") {
				f.addf(at+field, "a target needs the exact name of its %s", field[1:])
			}
		}
		for n, lack := range target.Lacks {
			oneOf(&f, fmt.Sprintf("%s.lacks[%d]", at, n), lack, LackTools, LackImages, LackSchema)
		}
		if target.Credential != "" {
			oneOf(&f, at+".credential", target.Credential, CredentialClient, CredentialInjected)
		}
		if target.Credential != CredentialInjected {
			if client != "" && target.Provider != client {
				f.addf(at+".credential", "targets of %s and %s can't both take the client's own credential, and Keel gives no provider that of another: let Envoy's credential_injector or aws_request_signing give calls to %[2]s one, and say {credential: injected}", client, target.Provider)
			}
			client = cmp.Or(client, target.Provider)
		}
		quality, err := parseQuality(target.Quality)
		f.add(at+".quality", err)
		enough = enough || err != nil || quality >= least
	}
	if !enough {
		f.addf("min_quality", "no target has a quality of %s or more", r.MinQuality)
	}
	return f
}

var qualityPattern = regexp.MustCompile(`^(0(\.[0-9]{1,9})?|1(\.0{1,9})?)$`)

// parseQuality reads a decimal 0..1 in billionths; "" is 0.
func parseQuality(text string) (int64, error) {
	if text == "" {
		return 0, nil
	}
	if !qualityPattern.MatchString(text) {
		return 0, fmt.Errorf("quality %q: it is a decimal from 0 to 1, such as 0.8", text)
	}
	digits := strings.Replace(text, ".", "", 1)
	var q int64
	for i := range 10 {
		q *= 10
		if i < len(digits) {
			q += int64(digits[i] - '0')
		}
	}
	return q, nil
}

func (p *Policy) setDefaults() {
	p.Meta.setDefaults()
	if p.Do.Watch != nil {
		orDefault(&p.Do.Watch.End, WatchFinish)
	}
}

func (p *Policy) check() faults {
	f := p.Meta.check()
	if _, err := policy.Compile(p.When); err != nil {
		f.add("when", err)
	}
	set := 0
	for _, is := range []bool{p.Do.Deny != "", p.Do.MaxOutputTokens != 0 || p.Do.Constraint != Constraint{}, p.Do.Route != "", p.Do.Warn != "", len(p.Do.Tag) > 0, p.Do.Watch != nil} {
		if is {
			set++
		}
	}
	switch {
	case set != 1:
		f.addf("do", `a policy does one thing: {deny: "reason"}, {constrain: {max_output_tokens: N, choices: N, tools: none | own, reasoning_effort: E, service_tier: T}}, {route: name}, {warn: "text"}, {tag: {label: value}} or {watch: {extend: 0.05 USD, end: finish | error}}`)
	case p.Do.Tag[""] != "":
		f.addf("do.tag", "a label needs a name")
	case p.Do.MaxOutputTokens < 0:
		f.addf("do.constrain.max_output_tokens", "max_output_tokens must be at least 1")
	}
	if p.Do.Tools != "" {
		oneOf(&f, "do.constrain.tools", p.Do.Tools, ToolsNone, ToolsOwn)
	}
	if p.Do.Effort != "" {
		oneOf(&f, "do.constrain.reasoning_effort", p.Do.Effort, Efforts...)
	}
	if w := p.Do.Watch; w != nil {
		if w.Extend < 0 {
			f.addf("do.watch.extend", "a hold can't grow by less than nothing; 0 USD lets it stay as it is")
		}
		oneOf(&f, "do.watch.end", w.End, WatchFinish, WatchError)
	}
	return f
}

var headerPattern = regexp.MustCompile("^[a-z0-9!#$%&'*+.^_`|~-]+$")

func (s *SubjectRule) setDefaults() {
	s.Meta.setDefaults()
	s.From.Header = strings.ToLower(s.From.Header)
}

func (s *SubjectRule) check() faults {
	f := s.Meta.check()
	if s.Label == "" {
		f.addf("label", "a subject needs a label: the name by which budgets and policies read it")
	} else {
		f.add("label", checkLabel(s.Label))
	}
	if slices.Contains(callLabels, s.Label) {
		f.addf("label", "the label %q is taken: it is what the call asks for, not who asks", s.Label)
	}
	if s.Pseudonym && s.Label == "org" {
		f.addf("pseudonym", "the organisation chooses the documents, so it can't be a pseudonym")
	}
	set := 0
	for _, is := range []bool{s.From.Header != "", s.From.Claim != "", s.From.Metadata != "", s.From.PeerSAN} {
		if is {
			set++
		}
	}
	switch {
	case set != 1:
		f.addf("from", "a label comes from one place: {header: x-team}, {claim: sub}, {metadata: namespace/key} or {peer_san: true}")
	case s.From.Header != "" && !headerPattern.MatchString(s.From.Header):
		f.addf("from.header", "%q can't be the name of a header", s.From.Header)
	case s.From.Metadata != "" && !strings.Contains(strings.Trim(s.From.Metadata, "/"), "/"):
		f.addf("from.metadata", "metadata %q: write namespace/key", s.From.Metadata)
	}
	return f
}

func (s *Settings) setDefaults() {
	s.Meta.setDefaults()
	orDefault(&s.Unknown, UnknownPass)
	orDefault(&s.Malformed, UnknownDeny)
	orDefault(&s.Offline, OfflineDeny)
	orDefault(&s.Durability, DurabilityOS)
	orDefault(&s.UnknownAttempt, ChargeFull)
	orDefault(&s.Policies, PoliciesAll)
	s.MaxAttempts = max(s.MaxAttempts, 1)
	if s.OutputFloor == 0 {
		s.OutputFloor = DefaultOutputFloor
	}
}

func (s *Settings) check() faults {
	f := s.Meta.check()
	oneOf(&f, "unknown", s.Unknown, UnknownPass, UnknownDeny)
	oneOf(&f, "malformed", s.Malformed, UnknownPass, UnknownDeny)
	oneOf(&f, "offline", s.Offline, OfflineDeny, OfflineAllowDebt)
	oneOf(&f, "durability", s.Durability, DurabilityOS, DurabilityFsync, DurabilityPostgres)
	oneOf(&f, "policies", s.Policies, PoliciesAll, PoliciesFirst)
	oneOf(&f, "unknown_attempt", s.UnknownAttempt, ChargeFull, ChargeInput, ChargeNone)
	if s.MaxAttempts > MaxAttempts {
		f.addf("max_attempts", "%d attempts are more than %d: every call would hold that many times its bound", s.MaxAttempts, MaxAttempts)
	}
	return f
}
