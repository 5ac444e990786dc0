package main

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
)

// cell is one kind of load.
type cell struct {
	Bytes   int  // of a request's body, about
	Tail    bool // all but the last message is a history that all requests share; else nothing is
	SSE     bool // the answer is a stream of 100 chunks; else one JSON body
	Clients int  // each waits for an answer before it sends again
}

var cellName = regexp.MustCompile(`^([1-9][0-9]{0,3})k-(unique|tail)-(unary|sse)-c([1-9][0-9]{0,3})$`)

// parseCell reads a name such as 32k-tail-sse-c16.
func parseCell(name string) (cell, error) {
	m := cellName.FindStringSubmatch(name)
	if m == nil {
		return cell{}, fmt.Errorf("cell %q: want SIZEk-unique|tail-unary|sse-cCLIENTS, as in 32k-tail-unary-c16", name)
	}
	kilobytes, _ := strconv.Atoi(m[1])
	clients, _ := strconv.Atoi(m[4])
	return cell{Bytes: kilobytes << 10, Tail: m[2] == "tail", SSE: m[3] == "sse", Clients: clients}, nil
}

func (c cell) String() string {
	text, reply := "unique", "unary"
	if c.Tail {
		text = "tail"
	}
	if c.SSE {
		reply = "sse"
	}
	return fmt.Sprintf("%dk-%s-%s-c%d", c.Bytes>>10, text, reply, c.Clients)
}

// group is a cell, and the variants that go through it in turn, round by round.
type group struct {
	cell
	variants []string // in every round: limits stand on them
	shown    []string // in the first rounds alone
	rounds   int
}

// of are the variants of a round, counted from 0.
func (g group) of(round int) []string {
	if round < shownRounds {
		return g.all()
	}
	return g.variants
}

func (g group) all() []string { return slices.Concat(g.variants, g.shown) }

func mustCell(name string) cell {
	c, err := parseCell(name)
	if err != nil {
		panic(err)
	}
	return c
}

const (
	gateRounds   = 9  // of a cell that a limit stands on: one of them is good to a fifth, the machine is not the same for two windows
	largeRounds  = 7  // of one whose limit is wider
	streamRounds = 5  // of one whose windows are longer
	budgetRounds = 60 // of what differs by less than a twentieth
	otherRounds  = 3
	shownRounds  = 3
)

// The variants of a cell, by what it is to tell.
var (
	judged    = []string{"envoy-log", "nothing-log", "nothing-request-log", "full", "light", "fast"}
	others    = []string{"direct", "envoy", "envoy-usage-log", "envoy-read-log", "nothing", "nothing-request", "nothing-attempts-log", "nothing-fast-log", "attempts", "authz"}
	added     = []string{"envoy-log", "nothing-log", "full", "fast"}
	beside    = []string{"envoy", "nothing", "light"}
	streaming = []string{"envoy-usage-log", "nothing-log", "full", "fast"}
	streamed  = []string{"envoy-log", "envoy-read-log", "nothing", "attempts"}
	compared  = []string{"envoy-log", "nothing-log", "full"}
	budgeted  = []string{"full-1-budget", "full-100-budgets", "full-100000-budgets"}
)

// budgetCell is where the number of budgets is varied.
const budgetCell = "1k-unique-unary-c64"

// streamCell is where chunks are weighed: enough clients for calls whose CPU is many ticks of the clock, and few enough that a chunk is still
// read by itself. wholeCell is the same request with an answer in one piece.
const (
	streamCell = "1k-unique-sse-c32"
	wholeCell  = "1k-unique-unary-c64"
)

// defaultGroups fit into thirteen minutes: what the limits stand on first.
func defaultGroups() []group {
	return []group{
		{mustCell("1k-unique-unary-c64"), judged, others, gateRounds},
		{mustCell("1k-unique-unary-c16"), added, beside, gateRounds},
		{mustCell("1k-unique-unary-c1"), added, beside, gateRounds},
		{mustCell(streamCell), streaming, streamed, streamRounds},
		{mustCell("32k-unique-unary-c16"), compared, nil, largeRounds},
		{mustCell("32k-unique-unary-c1"), compared, nil, largeRounds},
		{mustCell("32k-tail-unary-c16"), compared, nil, largeRounds},
		{mustCell("32k-tail-unary-c1"), compared, nil, largeRounds},
		{mustCell(budgetCell), budgeted, nil, budgetRounds},
		{mustCell("300k-tail-unary-c1"), compared, nil, otherRounds},
		{mustCell("300k-unique-unary-c16"), compared, nil, otherRounds},
		{mustCell("1k-tail-unary-c16"), compared, nil, otherRounds},
	}
}

// fullGroups are the whole matrix. It takes hours.
func fullGroups() []group {
	var groups []group
	for _, bytes := range []int{1 << 10, 32 << 10, 300 << 10} {
		for _, tail := range []bool{false, true} {
			for _, sse := range []bool{false, true} {
				for _, clients := range []int{1, 16, 64} {
					c := cell{Bytes: bytes, Tail: tail, SSE: sse, Clients: clients}
					groups = append(groups, group{c, slices.Concat(judged, others), nil, streamRounds})
				}
			}
		}
	}
	return append(groups, group{mustCell(budgetCell), budgeted, nil, budgetRounds})
}
