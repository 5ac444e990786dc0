package alert

import _ "embed"

// Rules are alert rules for Prometheus, over the metrics of the admin port.
//
//go:embed keel.rules.yaml
var Rules []byte

// Dashboard is a dashboard for Grafana, over the same metrics.
//
//go:embed keel.dashboard.json
var Dashboard []byte
