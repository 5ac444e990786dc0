package main

import (
	"context"
	"errors"
	"fmt"
	"text/tabwriter"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"keel/budget/audit/alert"
)

// alertFlags are of the verbs that run a processor.
type alertFlags struct {
	AlertWebhook string        `help:"Address that alerts are posted to, signed; see docs/review.md." placeholder:"URL"`
	AlertSecret  string        `help:"File with the secret that alerts are signed with." placeholder:"FILE"`
	AlertEvery   time.Duration `help:"How often to look for what to alert on." default:"30s"`
}

func (f *alertFlags) webhook() (alert.Webhook, error) {
	if f.AlertWebhook == "" {
		if f.AlertSecret != "" {
			return alert.Webhook{}, errors.New("--alert-secret is for --alert-webhook URL, which is missing")
		}
		return alert.Webhook{}, nil
	}
	return alert.ReadWebhook(f.AlertWebhook, f.AlertSecret)
}

func (f *alertFlags) start(o processorOptions, metrics prometheus.Registerer) (*alert.Watcher, error) {
	hook, err := f.webhook()
	if err != nil {
		return nil, err
	}
	return alert.Start(alert.Options{Database: o.Database, Webhook: hook, Every: f.AlertEvery, Logger: o.Log, Metrics: metrics})
}

type alertsCmd struct {
	Rules     alertsRulesCmd     `cmd:"" help:"Print alert rules for Prometheus."`
	Dashboard alertsDashboardCmd `cmd:"" help:"Print a dashboard for Grafana."`
	List      alertsListCmd      `cmd:"" help:"Show alerts, the newest first."`
}

type alertsRulesCmd struct{}

func (c *alertsRulesCmd) Help() string {
	return `Example:
  keel alerts rules > /etc/prometheus/rules/keel.yaml`
}

func (c *alertsRulesCmd) Run(m *Main) error {
	_, err := m.Stdout.Write(alert.Rules)
	return err
}

type alertsDashboardCmd struct{}

func (c *alertsDashboardCmd) Help() string {
	return `Example:
  keel alerts dashboard > /var/lib/grafana/dashboards/keel.json`
}

func (c *alertsDashboardCmd) Run(m *Main) error {
	_, err := m.Stdout.Write(alert.Dashboard)
	return err
}

type alertsListCmd struct {
	Since  time.Duration `default:"24h" placeholder:"DURATION" help:"How far back to look: 24h, 168h."`
	Org    string        `placeholder:"ORG" help:"Only this organisation."`
	Output string        `short:"o" default:"table" enum:"table,json" help:"table or json."`
	databaseFlag
}

func (c *alertsListCmd) Help() string {
	return `Examples:
  keel alerts list
  keel alerts list --since 168h --org acme -o json`
}

func (c *alertsListCmd) Run(ctx context.Context, m *Main) error {
	dsn, err := c.dsn(m)
	if err != nil {
		return err
	}
	rows, err := alert.List(ctx, dsn, c.Org, c.Since)
	if err != nil {
		return err
	}
	if c.Output == "json" {
		return writeJSON(m.Stdout, rows)
	}
	if len(rows) == 0 {
		fmt.Fprintf(m.Stderr, "no alerts in the last %s\n", c.Since)
		return nil
	}
	w := tabwriter.NewWriter(m.Stdout, 0, 4, 2, ' ', 0)
	fmt.Fprintln(w, "RAISED\tORG\tKIND\tDELIVERED\tALERT")
	for _, r := range rows {
		delivered := "no"
		if r.DeliveredAt != nil {
			delivered = r.DeliveredAt.UTC().Format(time.RFC3339)
		} else if r.LastError != "" {
			delivered = "no: " + r.LastError
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", r.RaisedAt.UTC().Format(time.RFC3339), r.Org, r.Kind, delivered, r.Text)
	}
	return w.Flush()
}
