package main

import (
	"fmt"
	"regexp"
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

// group is a cell, the variants that go through it in turn, and how often.
type group struct {
	cell
	variants []string
	rounds   int
}

func mustCell(name string) cell {
	c, err := parseCell(name)
	if err != nil {
		panic(err)
	}
	return c
}

const (
	gateRounds  = 5 // of a cell that a limit stands on
	otherRounds = 3
)

// The variants of a cell, by what it is to tell.
var (
	every     = []string{"direct", "envoy", "envoy-log", "envoy-usage-log", "envoy-read-log", "nothing", "nothing-log", "nothing-request", "nothing-request-log", "nothing-attempts-log", "nothing-fast-log", "full", "attempts", "light", "authz", "fast"}
	judged    = []string{"envoy", "envoy-log", "nothing", "nothing-log", "full", "light", "fast"}
	streaming = []string{"envoy-log", "envoy-usage-log", "envoy-read-log", "nothing", "nothing-log", "full", "attempts", "fast"}
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

// defaultGroups fit into eight minutes: what the limits stand on first.
func defaultGroups() []group {
	return []group{
		{mustCell("1k-unique-unary-c64"), every, gateRounds},
		{mustCell("1k-unique-unary-c16"), judged, gateRounds},
		{mustCell("1k-unique-unary-c1"), judged, gateRounds},
		{mustCell(streamCell), streaming, otherRounds},
		{mustCell("32k-unique-unary-c16"), compared, gateRounds},
		{mustCell("32k-unique-unary-c1"), compared, gateRounds},
		{mustCell("32k-tail-unary-c16"), compared, gateRounds},
		{mustCell("32k-tail-unary-c1"), compared, gateRounds},
		{mustCell(budgetCell), budgeted, gateRounds},
		{mustCell("300k-tail-unary-c1"), compared, otherRounds},
		{mustCell("300k-unique-unary-c16"), compared, otherRounds},
		{mustCell("1k-tail-unary-c16"), compared, otherRounds},
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
					groups = append(groups, group{c, every, gateRounds})
				}
			}
		}
	}
	return append(groups, group{mustCell(budgetCell), budgeted, gateRounds})
}
