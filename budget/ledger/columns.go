package ledger

import (
	"encoding/json"

	"keel/budget"
)

// The columns of each table, as to_jsonb shows them; those of prices are in price.go.

type budgetColumns struct {
	Selector map[string]string `json:"selector"`
	Limit    json.Number       `json:"limit_usd"`
	Window   string            `json:"window"`
	Timezone string            `json:"timezone"`
	Mode     budget.Mode       `json:"mode"`
	Hold     budget.HoldKind   `json:"hold"`
	Tiers    []tierColumns     `json:"tiers"`
	Per      []string          `json:"per"`
	Template bool              `json:"template"`

	Offline     *budget.Offline `json:"offline"`
	OfflineDebt *json.Number    `json:"offline_debt_usd"`
	Cut         budget.Cut      `json:"cut"`
}

type tierColumns struct {
	At string        `json:"at"` // "75%"
	Do budget.Effect `json:"do"`
}

type routeColumns struct {
	Models     []string        `json:"models"`
	Mode       budget.Mode     `json:"mode"`
	Targets    []targetColumns `json:"targets"`
	MinQuality *json.Number    `json:"min_quality"`

	MaxAttempts *int64 `json:"max_attempts"`
}

type targetColumns struct {
	Provider string       `json:"provider"`
	Model    string       `json:"model"`
	Quality  *json.Number `json:"quality,omitempty"`

	Lacks      []budget.Lack     `json:"lacks,omitempty"`
	Credential budget.Credential `json:"credential,omitempty"`
}

type policyColumns struct {
	When string   `json:"when"`
	Do   doAction `json:"do"`
}

type doAction struct {
	Deny      string     `json:"deny,omitempty"`
	Constrain *constrain `json:"constrain,omitempty"`
	Route     string     `json:"route,omitempty"`

	Warn  string            `json:"warn,omitempty"`
	Tag   map[string]string `json:"tag,omitempty"`
	Watch *watch            `json:"watch,omitempty"`
}

type watch struct {
	Extend json.Number     `json:"extend_usd,omitempty"`
	End    budget.WatchEnd `json:"end,omitempty"`
}

type constrain struct {
	MaxOutputTokens int64         `json:"max_output_tokens,omitempty"`
	Choices         int64         `json:"choices,omitempty"`
	Tools           budget.Tools  `json:"tools,omitempty"`
	Effort          budget.Effort `json:"reasoning_effort,omitempty"`
	ServiceTier     string        `json:"service_tier,omitempty"`
}

type subjectColumns struct {
	Label     string     `json:"label"`
	From      fromSource `json:"from"`
	Pseudonym bool       `json:"pseudonym"`
}

type fromSource struct {
	Header   string `json:"header,omitempty"`
	Claim    string `json:"claim,omitempty"`
	Metadata string `json:"metadata,omitempty"`
	PeerSAN  bool   `json:"peer_san,omitempty"`
}

type settingsColumns struct {
	Unknown    budget.Unknown    `json:"unknown"`
	Malformed  budget.Unknown    `json:"malformed"`
	Offline    budget.Offline    `json:"offline"`
	Durability budget.Durability `json:"durability"`

	MaxAttempts    int64                 `json:"max_attempts"`
	UnknownAttempt budget.UnknownAttempt `json:"unknown_attempt"`
	OutputFloor    int64                 `json:"output_floor"`
	Policies       budget.Policies       `json:"policies"`
}
