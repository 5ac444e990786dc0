package lint

import (
	"os"
	"strings"
	"testing"
)

// What a running Envoy says of itself (recorded with "keel envoy config --target envoy
// --retry-on 5xx,reset") is judged as its bootstrap is. The e2e tests ask an Envoy that runs.
func TestConfigDump(t *testing.T) {
	text, err := os.ReadFile("testdata/config_dump.json")
	if err != nil {
		t.Fatal(err)
	}
	if report := lintText(t, string(text)); len(report.Findings)+len(report.Unseen) > 0 {
		t.Errorf("not clean: %+v", report)
	}
	for _, c := range []struct{ old, new, rule, path string }{
		{`"allow_mode_override": true`, `"allow_mode_override": false`, modeOverride, "static_listeners[0].listener"},
		{`"max_requests": 4294967295`, `"max_requests": 1024`, breakerDefault, ".cluster.circuit_breakers.thresholds[0].max_requests"},
		{`"include_request_attempt_count": true`, `"include_request_attempt_count": false`, attemptCount, "virtual_hosts[0]"},
		{`"name": "envoy.access_loggers.http_grpc"`, `"filter": {}, "name": "envoy.access_loggers.http_grpc"`, accessLogSampled, "access_log[0].filter"},
		{`"request_body_buffer_limit": "33554432"`, `"request_body_buffer_limit": "65536"`, bufferSmall, "request_body_buffer_limit"},
	} {
		// The bootstrap is in a dump too; what counts is what became of it.
		_, rest, ok := strings.Cut(string(text), "BootstrapConfigDump")
		if !ok || !strings.Contains(rest, c.old) {
			t.Fatalf("the dump has no %s", c.old)
		}
		report := lintText(t, strings.ReplaceAll(string(text), c.old, c.new))
		found := false
		for _, f := range report.Findings {
			found = found || f.Rule == c.rule && strings.Contains(f.Path, c.path)
		}
		if !found {
			t.Errorf("%s: no %s at %s in %+v", c.new, c.rule, c.path, report.Findings)
		}
	}
}
