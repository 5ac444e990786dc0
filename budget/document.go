package budget

import (
	"time"

	"keel/pricing"
)

// DefaultOrg is the organisation of a call, or a document, that names none.
const DefaultOrg = "default"

// Kind names a kind of config document.
type Kind string

// The kinds of config document.
const (
	KindBudget       Kind = "Budget"
	KindRoute        Kind = "Route"
	KindPolicy       Kind = "Policy"
	KindExchangeRate Kind = "ExchangeRate"
	KindPrice        Kind = "Price"
	KindSubject      Kind = "Subject"
	KindSettings     Kind = "Settings"
)

// Meta is what every config document carries.
type Meta struct {
	Org     string // DefaultOrg when the document names none
	Name    string
	Version int64 // given by the config database, 1 at creation; 0 before it was stored
}

// Documents is a whole configuration as it is stored, in no particular order.
// Compile turns it into a Config.
type Documents struct {
	Budgets       []Budget
	Routes        []Route
	Policies      []Policy
	ExchangeRates []ExchangeRate
	Prices        []Price
	Subjects      []SubjectRule
	Settings      []Settings
}

// Mode is how strong a budget or route is.
type Mode string

// The modes.
const (
	Observe     Mode = "observe"      // count and warn
	PreferCheap Mode = "prefer-cheap" // choose cheaper targets of routes
	Enforce     Mode = "enforce"      // refuse what does not fit
)

// HoldKind is how much a budget sets aside for a call.
type HoldKind string

// The kinds of hold.
const (
	HoldBound    HoldKind = "bound"    // the most it can cost
	HoldExpected HoldKind = "expected" // the likely cost
)

// Effect is what a tier does once it is reached.
type Effect string

// The effects of a tier.
const (
	Warn              Effect = "warn"
	EffectPreferCheap Effect = "prefer-cheap"
	EffectDeny        Effect = "deny"
)

// Tier is an effect at a share of a budget's limit.
type Tier struct {
	AtPercent int // 1..1000, of the limit, by settled + held
	Do        Effect
}

// Budget is a limit over a window for the calls that a selector matches.
type Budget struct {
	Meta
	Selector map[string]string // label → glob; provider, model and route as routed, and api, too; empty matches every call of the org
	Limit    pricing.NanoUSD   // ≥ 0
	Window   string            // hour, day, week, month, quarter, year, lifetime, "rolling 24h" (m, h or d)
	Timezone string            // IANA name, "UTC" when the document names none
	Mode     Mode              // Enforce when the document names none
	Hold     HoldKind          // HoldBound when the document names none
	Tiers    []Tier            // ascending by AtPercent
	Per      []string          // labels whose every value has its own account
	// Template makes it a budget for each run that the Per labels name, such as a session: a
	// call that lacks one of them is not of a run, and does not fall under it.
	Template bool

	Offline     Offline          // while the database is away; "": as the settings of the org say
	OfflineDebt *pricing.NanoUSD // most that one replica may let an account owe then, ≥ 0; nil: no cap
	Cut         Cut              // CutNow when the document names none
}

// Cut is when a lowered limit takes effect.
type Cut string

// The cuts.
const (
	CutNow    Cut = "now"    // at once: what was let out before may still be spent, and the bound of that is kept
	CutStrict Cut = "strict" // once what is spent and leased has come down to it; nothing is leased until then
)

// Route is a logical model and its candidate targets.
type Route struct {
	Meta
	Models     []string // globs over what clients may ask for
	Mode       Mode     // Observe: as asked; PreferCheap: the cheapest healthy one of enough quality; Enforce: the cheapest that fits
	Targets    []Target
	MinQuality string // decimal 0..1 as written, "" for none
	// MaxAttempts is how many attempts the cost envelope has room for; 0 leaves it to the settings.
	MaxAttempts int64
}

// Target is one place that a route can send a call to.
type Target struct {
	Provider string
	Model    string
	Quality  string // decimal 0..1 as written, "1" when not stated
	Lacks    []Lack // what the target can't do: a call that needs it does not go there
	// Credential says that Envoy gives calls to this target a credential of its own: needed where
	// a call may come that was made out to another provider.
	Credential Credential
}

// Lack is something that a target can't do.
type Lack string

// What targets may lack.
const (
	LackTools  Lack = "tools"
	LackImages Lack = "images"
	LackSchema Lack = "schema" // answers that keep to a JSON schema
)

// Credential is where the credential of a call to a target comes from.
type Credential string

// The credentials.
const (
	CredentialClient   Credential = "client"   // the client's own, "" means the same
	CredentialInjected Credential = "injected" // Envoy's credential_injector, aws_request_signing, or what stands for it
)

// Policy is a request rule.
type Policy struct {
	Meta
	When string // CEL over subject, request
	Do   PolicyAction
}

// Constraint is what a request may not ask for, beside its limit on the output. The zero Constraint allows all.
type Constraint struct {
	Choices     int64  // at most so many, 0 for any
	Tools       Tools  // which tools may be used, "" for all
	Effort      Effort // of reasoning, at most; "" for any
	ServiceTier string // this one, "" for any
}

// Tools says which tools a request may use.
type Tools string

// The answers.
const (
	ToolsNone Tools = "none" // no tools
	ToolsOwn  Tools = "own"  // none that the provider runs
)

// Effort is of reasoning, as the providers word it.
type Effort string

// Efforts are the words for it, from the least up.
var Efforts = []Effort{"none", "minimal", "low", "medium", "high", "xhigh"}

// PolicyAction is what a policy does; exactly one field is set, of those to constrain at least one.
type PolicyAction struct {
	Deny            string            // the reason that the client reads
	MaxOutputTokens int64             // constrain
	Constraint                        // constrain
	Route           string            // name of a route
	Warn            string            // what the response's x-keel-warning says
	Tag             map[string]string // labels that the subject gets
	Watch           *Watch            // of streamed answers
}

// Watch follows the running cost of a streamed answer, and ends the stream where that passes
// what enforcing budgets hold for the call.
type Watch struct {
	// Extend is the step in which holds grow when they are used up, as long as the budgets
	// have room; 0: they do not grow.
	Extend pricing.NanoUSD
	End    WatchEnd // WatchFinish when the document names none
}

// WatchEnd is how a watched stream is ended.
type WatchEnd string

// The ends.
const (
	WatchFinish WatchEnd = "finish" // as at the output limit: the client keeps what it has
	WatchError  WatchEnd = "error"  // with an error that client libraries raise
)

// Policies says which of the policies that match a call count.
type Policies string

// The answers.
const (
	PoliciesAll   Policies = "all"   // all of them, up to one that denies
	PoliciesFirst Policies = "first" // the first by name
)

// Price is a rate of the company's own: a contract price or a correction of the vendored catalogue.
type Price struct {
	Meta
	pricing.Price
}

// ExchangeRate is what a currency of the org's prices is worth in USD, from a day on.
type ExchangeRate struct {
	Meta
	pricing.Exchange
}

// SubjectRule says where a label of the subject comes from.
type SubjectRule struct {
	Meta
	Label string
	From  Source
	// Pseudonym: what is read is replaced by its pseudonym before anything else sees it.
	Pseudonym bool
}

// Source is one place that a label's value can be read from; exactly one field is set.
type Source struct {
	Header   string // request header, lower case
	Claim    string // JWT claim as Envoy's jwt_authn filter published it
	Metadata string // namespace/key of dynamic metadata
	PeerSAN  bool   // URI SAN of the peer certificate
}

// Unknown is what happens to traffic that Keel can't read.
type Unknown string

// Offline is what happens while the ledger can't be reached.
type Offline string

// The answers of Settings.
const (
	UnknownPass Unknown = "pass"
	UnknownDeny Unknown = "deny"

	OfflineDeny      Offline = "deny"
	OfflineAllowDebt Offline = "allow_debt"
)

// Settings are an organisation's answers to what no budget can say. One per org.
type Settings struct {
	Meta
	Unknown    Unknown // UnknownPass when not stated: traffic of an API that can't be read
	Malformed  Unknown // UnknownDeny when not stated: a body that is not what its API says
	Offline    Offline // OfflineDeny when not stated
	Durability Durability
	Policies   Policies // PoliciesAll when not stated
	// MaxAttempts is how many attempts that cost their bound the cost envelope of a call
	// has room for: 1 when not stated, at most MaxAttempts. Every budget holds for all of them.
	MaxAttempts    int64
	UnknownAttempt UnknownAttempt // ChargeFull when not stated
	// OutputFloor is the least output, in tokens, that a call which states no limit is let out with
	// when a budget has no room for more: 256 when not stated.
	OutputFloor int64
}

// DefaultOutputFloor is Settings.OutputFloor where it is not stated, in tokens.
const DefaultOutputFloor = 256

// Change is one version of one document, as the config database keeps it.
type Change struct {
	Org, Name string
	Kind      Kind
	Version   int64
	At        time.Time
	By        string
	Op        string // create, update, delete
}

// Durability is how safe a closeout is when its answer ends.
type Durability string

// The durabilities.
const (
	DurabilityOS       Durability = "os"       // written: survives the end of the process
	DurabilityFsync    Durability = "fsync"    // on the disk: survives a power loss
	DurabilityPostgres Durability = "postgres" // settled: survives the loss of the disk
)
