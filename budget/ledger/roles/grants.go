package roles

import (
	"maps"
	"regexp"
	"slices"
	"strings"
)

// rights are what each role may do with one object, as GRANT spells it; "" is nothing. The reader may read every table
// and view, which is not repeated here. So may the writer, which shows the review pages and looks for alerts.
type rights struct{ writer, editor string }

// Rows that are evidence are only added to: nobody but the owner may delete a decision, a closeout, an entry, a leaf, a
// tile, a checkpoint, a key or a version of a document. Columns are named where only they change.
const (
	read  = "select"
	add   = "select, insert"
	count = "select, insert, update"
	own   = "select, insert, update, delete"
)

var tables = map[string]rights{
	// Documents. Their history is written by triggers.
	"budgets":          {writer: read, editor: own},
	"routes":           {writer: read, editor: own},
	"policies":         {writer: read, editor: own},
	"prices":           {writer: read, editor: own},
	"subjects":         {writer: read, editor: own},
	"settings":         {writer: read, editor: own},
	"exchange_rates":   {writer: read, editor: own},
	"config_versions":  {writer: read, editor: read},
	"config_revisions": {writer: read, editor: read},
	"migrations":       {writer: read, editor: read},

	// Limits in force follow documents. To lock a row one has to be allowed to change some column of it.
	"limits": {writer: "select, update (changed_at)"},
	"cuts":   {writer: read},

	// Money.
	"accounts":       {writer: count},
	"leases":         {writer: count},
	"epochs":         {writer: count},
	"replicas":       {writer: count},
	"db_state":       {writer: "select, update (timeline, learn_until)"},
	"open_decisions": {writer: own}, // of calls in flight

	// Evidence.
	"decisions":            {writer: add},
	"closeouts":            {writer: "select, insert, update (lease, charges, version)"},
	"superseded_closeouts": {writer: add},
	"annotations":          {writer: count},
	"entries":              {writer: add},
	"leaves":               {writer: add},
	"tiles":                {writer: "select, insert, update (data)"}, // the last one of a level grows
	"checkpoints":          {writer: "select, insert, update (anchored)"},
	"lost_checkpoints":     {writer: read}, // put aside by the owner: keel audit continue
	"audit_keys":           {writer: add},
	"label_values":         {writer: add},
	"adjustments":          {writer: read, editor: add},
	"reconciliations":      {writer: read, editor: add},
	"reconciled":           {writer: read, editor: add},

	// What can be made again, or is on its way.
	"outbox":                {writer: own},
	"statement_outbox":      {writer: own},
	"statement_provisional": {writer: own},
	"statements":            {writer: own},
	"calibrations":          {writer: add},
	"target_health":         {writer: own},
	"alerts":                {writer: own},
	"alert_marks":           {writer: count},

	// Views.
	"attempts":            {writer: read},
	"budget_status":       {writer: read, editor: read},
	"extended":            {writer: read},
	"spend_records":       {writer: read},
	"statement_closeouts": {writer: read},
	"statement_decisions": {writer: read},
	"variance":            {writer: read, editor: read},
}

// writerColumns is the list of columns behind a privilege that is granted on some.
var writerColumns = regexp.MustCompile(` \([^)]*\)`)

// Needed are the privileges of a processor, by table or view, in the order of their names: those of the writer.
func Needed() (privileges, relations []string) {
	for _, privilege := range []string{"select", "insert", "update", "delete"} {
		for _, relation := range slices.Sorted(maps.Keys(tables)) {
			if slices.Contains(strings.Split(writerColumns.ReplaceAllString(tables[relation].writer, ""), ", "), privilege) {
				privileges, relations = append(privileges, privilege), append(relations, relation)
			}
		}
	}
	return privileges, relations
}

// callers say who may call a function. Triggers need nobody who may.
type callers struct{ writer, editor, reader bool }

var (
	everybody = callers{writer: true, editor: true, reader: true}
	nobody    = callers{}
)

var functions = map[string]callers{
	// Pure, in views and checks of documents.
	"calendar_bounds":      everybody,
	"ceiling_n":            everybody,
	"config_document":      everybody,
	"first_instant":        everybody,
	"is_by_million":        everybody,
	"is_meter":             everybody,
	"is_object_of_strings": everybody,
	"is_policy_action":     everybody,
	"is_rate_steps":        everybody,
	"is_rates":             everybody,
	"is_source":            everybody,
	"is_targets":           everybody,
	"is_tiers":             everybody,
	"is_words":             everybody,
	"micros":               everybody,
	"nanos":                everybody,
	"rolling_us":           everybody,
	"usd":                  everybody,
	"uuid_at":              everybody,
	"window_bounds":        everybody,
	"zone_change":          everybody,

	"actor":     {editor: true},
	"leaf_hash": {writer: true, reader: true}, // reads keel.leaves as who calls it
	"timeline":  {writer: true, reader: true},

	// These act for the owner.
	"ensure_partitions":   {writer: true},
	"settle_pending_cuts": {writer: true},
	"thin_checkpoints":    {writer: true},
	"supersede_closeout":  {writer: true},
	"hold_revision":       {editor: true},

	// Called by these alone, or by triggers.
	"beyond":          nobody,
	"budget_timezone": nobody,
	"config_after":    nobody,
	"config_before":   nobody,
	"config_record":   nobody,
	"config_outbox":   nobody,
	"config_truncate": nobody,
	"correction_kept": nobody,
	"has_partition":   nobody,
	"key_outbox":      nobody,
	"limit_follows":   nobody,
	"recall":          nobody,
}
