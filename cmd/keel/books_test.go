package main

import (
	"context"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"keel/budget"
	"keel/budget/audit"
	"keel/budget/ledger"
	"keel/budget/ledger/escrow"
	"keel/budget/ledger/record"
	"keel/pricing"
	"keel/pricing/meter"
	"keel/pricing/tokens"
)

// books is a command of scripts: it settles calls as a processor does, takes them into the audit log, and signs that
// with --key. It prints the decision ids.
func books() {
	calls := flag.Int("calls", 1, "")
	key := flag.String("key", "", "")
	anchor := flag.String("anchor", "", "")
	flag.Parse()
	if err := keepBooks(context.Background(), *calls, *key, *anchor); err != nil {
		fmt.Fprintln(os.Stderr, "books:", err)
		os.Exit(1)
	}
}

func keepBooks(ctx context.Context, calls int, keyFile, anchorDir string) error {
	dsn := os.Getenv("KEEL_DATABASE_URL")
	pool, err := pgxpool.New(ctx, dsn)
	if err != nil {
		return err
	}
	defer pool.Close()
	bank := ledger.NewBank(pool, ledger.BankOptions{})
	epoch := uuid.Must(uuid.NewV7())
	batch := escrow.Batch{Epoch: epoch, Org: "acme"}
	for i := range calls {
		d, end := bookedCall(i)
		charges := []record.Charge{{Account: d.Holds[0].Account, Held: d.Holds[0].Amount, Amount: end.Cost.Total}}
		batch.Records = append(batch.Records, escrow.Record{Seq: uint64(2*i + 1), Decision: d},
			escrow.Record{Seq: uint64(2*i + 2), Closeout: &record.Closeout{Closeout: end, Known: true, Lease: epoch, Charges: charges}})
		fmt.Println(d.ID)
	}
	if _, err := bank.Settle(ctx, batch); err != nil {
		return err
	}
	o := audit.SequencerOptions{Database: dsn, Logger: slog.New(slog.NewTextHandler(os.Stderr, nil))}
	if keyFile != "" {
		if o.Key, err = audit.ReadPrivateKey(keyFile); err != nil {
			return err
		}
	}
	if anchorDir != "" {
		a, err := audit.OpenAnchor(anchorDir)
		if err != nil {
			return err
		}
		o.Anchors = []audit.Anchor{a}
	}
	_, err = audit.NewSequencer(o).SequenceOnce(ctx)
	return err
}

func bookedCall(i int) (*budget.Decision, budget.Closeout) {
	now := time.Now().UTC()
	start := time.Date(now.Year(), now.Month(), 1, 0, 0, 0, 0, time.UTC)
	account := budget.Account{Org: "acme", Budget: "each", Key: "user=ada", WindowStart: start, WindowEnd: start.AddDate(0, 1, 0)}
	d := &budget.Decision{
		Call: budget.Call{ID: uuid.Must(uuid.NewV7()), Org: "acme", At: now, Subject: budget.Subject{"team": "research", "user": "ada"},
			API: "openai-chat", Provider: "openai", Model: "gpt-5", Path: "/v1/chat/completions", Choices: 1},
		Shape:  tokens.Shape{Task: "generate", Messages: 1, Bytes: map[string]int64{"text": 12}},
		Action: budget.Allow, Reason: "within every budget", RoutedProvider: "openai", RoutedModel: "gpt-5", PriceVersion: "2026-11",
		Holds: []budget.Hold{{Account: account, Amount: 10_000_000, Ceiling: -1, Limit: 1_000_000_000, Mode: budget.Observe, Version: 1}},
		Estimate: budget.Estimate{InputTokens: 3, InputTokensBound: 12, OutputTokens: 100, OutputTokensBound: 1000,
			Expected: 1_003_750, Bound: 10_015_000, BoundKind: tokens.Provable, Method: "bytes/1"},
		Envelope: budget.Envelope{Limit: 10_015_000, Attempts: 1, Mode: budget.Observe},
		Rules:    []budget.Rule{{Kind: budget.KindBudget, Name: "each", Version: 1, Effect: "observed", Saw: "0.25 of 1 USD"}},
	}
	cost := pricing.NanoUSD(403_750 + int64(i))
	end := budget.Closeout{ID: d.ID, Org: d.Org, At: now.Add(time.Second), Outcome: budget.Complete, Metered: budget.ByProvider,
		Usage: &meter.Usage{meter.Input: 3, meter.Output: 40}, RawUsage: []byte(`{"prompt_tokens":3,"completion_tokens":40}`),
		Cost: pricing.Cost{Total: cost, Lines: []pricing.Line{
			{Meter: meter.Input, Quantity: 3, Rate: 1_250_000, Amount: 3_750, Price: "openai/gpt-5"},
			{Meter: meter.Output, Quantity: 40, Rate: 10_000_000, Amount: cost - 3_750, Price: "openai/gpt-5"}}},
		CostKnown: true, Attempts: 1, HTTPStatus: 200, Model: "gpt-5-2025-08-07", Detail: "via_upstream"}
	return d, end
}

// sql is a command of scripts: it runs statements past the triggers, as a superuser may.
func sql() {
	ctx := context.Background()
	conn, err := pgx.Connect(ctx, os.Getenv("KEEL_DATABASE_URL"))
	if err == nil {
		defer conn.Close(ctx)
		_, err = conn.Exec(ctx, "set session_replication_role = replica; "+strings.Join(os.Args[1:], " "))
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "sql:", err)
		os.Exit(1)
	}
}
