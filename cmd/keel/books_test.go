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

// lost is a command of scripts: a processor leases 0.50 USD of the enforcing budget "each", of ada in organisation acme, permits three calls,
// closes one, and dies: it was last heard of an hour ago. It prints its epoch and the two calls that are open.
func lost() {
	if err := loseProcessor(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, "lost:", err)
		os.Exit(1)
	}
}

func loseProcessor(ctx context.Context) error {
	pool, err := pgxpool.New(ctx, os.Getenv("KEEL_DATABASE_URL"))
	if err != nil {
		return err
	}
	defer pool.Close()
	bank := ledger.NewBank(pool, ledger.BankOptions{})
	epoch := uuid.Must(uuid.NewV7())
	fleet, err := bank.Beat(ctx, escrow.Member{Epoch: epoch, Host: "keel-7", Now: time.Now()})
	if err != nil {
		return err
	}
	batch := escrow.Batch{Epoch: epoch, Org: "acme"}
	for i := range 3 {
		d, end := bookedCall(i)
		hold := &d.Holds[0]
		hold.Mode, hold.Ceiling, d.Envelope.Mode = budget.Enforce, hold.Limit, budget.Enforce
		batch.Records = append(batch.Records, escrow.Record{Seq: uint64(len(batch.Records) + 1), Decision: d})
		if i == 0 {
			lease, err := bank.Lease(ctx, escrow.LeaseRequest{Epoch: epoch, Key: escrow.KeyOf(&hold.Account), Want: 500_000_000, Min: 500_000_000, Share: 1, Timeline: fleet.Timeline})
			if err != nil || lease.Given != 500_000_000 {
				return fmt.Errorf("leased %+v: %w", lease, err)
			}
			charges := []record.Charge{{Account: hold.Account, Held: hold.Amount, Amount: end.Cost.Total, Leased: true}}
			batch.Records = append(batch.Records, escrow.Record{Seq: 2, Closeout: &record.Closeout{Closeout: end, Known: true, Lease: epoch, Charges: charges}})
			fmt.Println(epoch)
			continue
		}
		fmt.Println(d.ID)
	}
	if _, err := bank.Settle(ctx, batch); err != nil {
		return err
	}
	_, err = pool.Exec(ctx, "update keel.replicas set heartbeat_at = heartbeat_at - interval '1 hour'; update keel.db_state set learn_until = now()")
	return err
}

// standing is a command of scripts: what is settled, held and leased in all accounts.
func standing() {
	ctx := context.Background()
	var text string
	conn, err := pgx.Connect(ctx, os.Getenv("KEEL_DATABASE_URL"))
	if err == nil {
		defer conn.Close(ctx)
		err = conn.QueryRow(ctx, "select format('settled %s held %s leased %s', sum(settled_n) / 1e9, sum(held_n) / 1e9, sum(leased_n) / 1e9) from keel.accounts").Scan(&text)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "standing:", err)
		os.Exit(1)
	}
	fmt.Println(text)
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
