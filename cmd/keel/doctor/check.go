package doctor

import "fmt"

// A check is one question. What it is called is a contract; what it may find has one danger and one fix.
type check struct {
	name, danger, fix string
}

// The checks, along the path of a call. docs/operate.md has them as a table.
var (
	envoyAnswers  = check{"envoy", "Nothing can be said of the Envoy there.", "Give the address of its admin interface with --envoy-admin, from a machine that reaches it (kubectl port-forward POD 9901)."}
	envoyConfig   = check{"envoy-config", "", ""} // rule by rule, see package lint
	healthy       = check{"processor-healthy", "Envoy has no processor to send calls to: they are answered with 503.", "Start keel serve, or let Envoy reach its --grpc address; its own health check is grpc.health.v1."}
	callsCut      = check{"processor-streams", "A call whose stream to the processor fails is answered with 503 or cut, and what it used is estimated.", "See the processor's log at that time: was it killed, out of memory, or slower than message_timeout? Stop it by SIGTERM, which drains."}
	failsOpen     = check{"fails-open", "Calls passed without a decision, and nothing is charged for them.", "failure_mode_allow: false on every keel filter; where a stream was half closed something between Envoy and Keel ends it: no proxy there."}
	breakers      = check{"breakers", "Past the breaker every call is answered with 500, whatever its budget says.", "Raise circuit_breakers (max_requests, max_connections, max_pending_requests) of the processor's cluster far above the calls in flight; keel envoy config has the values."}
	accessLog     = check{"access-log", "Why calls ended, and which of them no filter saw, is lost.", "Let Envoy reach the access log service on the processor's --grpc address, and raise the breaker of its cluster."}
	route         = check{"route", "Calls on this way reach a provider without a decision.", "Attach the filter to the listener and the route that this address leads to, and let nothing answer before it; keel envoy lint names what bypasses it."}
	keelAnswers   = check{"keel", "Nothing can be said of the processor there.", "Start it, or give the address of its admin port with --admin (kubectl port-forward POD 10001)."}
	ledgerUp      = check{"keel-database", "Calls go on from what is leased, then enforcing budgets deny them (offline: deny) or let them through as debt.", "Bring Postgres back, or the way to it; the processor tries again by itself and nothing is lost meanwhile."}
	journalKeeps  = check{"journal", "Records that are in memory only are lost with the process.", "Make room on the journal's disk or repair it; a new journal is begun within a second, without a restart. keel ledger check and keel reconcile tell what a lost record was worth."}
	journalSpace  = check{"journal-space", "With a full journal enforced calls are denied.", "Give the journal's folder a larger volume, or bring the database back so that the journal is settled and freed."}
	auditSigned   = check{"audit-signing", "Records are taken in and nobody vouches for them; keel audit verify is not clean.", continueLog}
	bodies        = check{"bodies", "Calls are refused before Keel could read them.", "Raise request_body_buffer_limit of the route and per_connection_buffer_limit_bytes of the listener (ClientTrafficPolicy: connection.bufferLimit), and request_body_mode: BUFFERED."}
	bypassed      = check{"bypassed", "Calls reached a provider without a decision: nothing was held, and nothing is charged.", "Find them: select * from keel.spend_records where reason like 'seen in the access log only%'. Then attach the filter to their route; keel envoy lint says what bypasses it."}
	usage         = check{"usage", "What calls cost is estimated, and budgets drift from the bill.", "response_body_mode: STREAMED, no decompressor in the way; keel explain DECISION_ID says of one call why its usage was not seen."}
	prices        = check{"prices", "Prices change, and new models have none: enforcing budgets deny them.", "Upgrade Keel for its newer catalogue, or import a list: keel prices import."}
	databaseUp    = check{"database", "Nothing can be said of the ledger.", "Bring Postgres up, or correct --database; the error says which."}
	databaseRoles = check{"database-roles", "Settlement fails at the first statement that is not allowed: records wait in the journal until it is full.", "Grant what is missing to the role, or run keel migrate as the schema's owner, who grants it."}
	connections   = check{"connections", "A processor that restarts finds no connection, and starts from its cached configuration.", "Raise max_connections, or put fewer clients on this server; a processor takes 20 at most."}
	configuration = check{"configuration", "Documents that can't be compiled keep their last good version, and a processor that starts now refuses to.", "Mend the document: keel get shows it, keel apply refuses what is wrong."}
	processors    = check{"processors", "What it had leased stays set aside, and what is in its journal is not settled.", "Start a processor on its journal folder; where that is gone for good: keel ledger forfeit EPOCH --dry-run says what is given up, and without --dry-run gives it up."}
	clock         = check{"clock", "Calls near the edge of a window are charged to another one; beyond 2 s rolling windows are refused.", "Run a time service (chrony, systemd-timesyncd) on the processor's machine and the database's."}
	sweep         = check{"sweep", "Holds of calls that have ended stay set aside.", "One processor that reaches the database is enough to sweep: see its log for \"sweep failed\"."}
	auditLag      = check{"audit-log", "Records that are not in the log yet can be changed without a trace.", "One processor with --audit-key takes them in: see its log for \"audit\". Where records are missing run keel audit verify; where nothing is signed, keel doctor --admin ADDR of that processor says what to run."}
	statements    = check{"statements", "Statements and alerts are behind the records.", "One processor that reaches the database is enough to fold them: see its log for \"statements\"."}
	unmetered     = check{"unmetered", "Nobody is charged for these calls.", "unknown: deny in the Settings document refuses them; keel.spend_records where outcome = 'unmetered' says which paths they are."}
)

// continueLog is what to run where the log can't be signed, whatever the cause.
const continueLog = `See why: keel audit verify --key OLD.key.pub --anchor DIR, and the processor's log for "nothing is signed". ` +
	`Where its --audit-key is another than the log's (keel audit keys list), give it that one. ` +
	`Where the database was restored, failed over, or the key is lost, let processors settle their journals first, then: keel audit keys new NEW.key --origin NAME/2; ` +
	`keel audit continue --key NEW.key --old-key OLD.key --anchor DIR --by WHO --why WHAT, which looks; the same with --yes, which declares it; restart processors with --audit-key NEW.key.`

func (c check) ok(at, format string, args ...any) Finding {
	return Finding{Check: c.name, Status: OK, At: at, Saw: fmt.Sprintf(format, args...)}
}

func (c check) unseen(at, format string, args ...any) Finding {
	return Finding{Check: c.name, Status: Unseen, At: at, Saw: fmt.Sprintf(format, args...)}
}

func (c check) wrong(s Status, at, format string, args ...any) Finding {
	return Finding{Check: c.name, Status: s, At: at, Saw: fmt.Sprintf(format, args...), Danger: c.danger, Fix: c.fix}
}

// judge is wrong with what format says where bad, else ok with it.
func (c check) judge(bad bool, s Status, at, format string, args ...any) Finding {
	if bad {
		return c.wrong(s, at, format, args...)
	}
	return c.ok(at, format, args...)
}
