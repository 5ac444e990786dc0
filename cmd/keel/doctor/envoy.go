package doctor

import (
	"bytes"
	"context"
	"encoding/json"
	"slices"
	"strconv"
	"strings"

	"keel/envoy/lint"
)

func lookAtEnvoy(ctx context.Context, r *Report, at string) {
	dump, err := get(ctx, at+"/config_dump?include_eds")
	if err != nil {
		r.add(envoyAnswers.wrong(Away, at, "%v", err))
		return
	}
	text, err := get(ctx, at+"/stats")
	if err != nil {
		r.add(envoyAnswers.wrong(Away, at, "%v", err))
		return
	}
	s := readStats(text)
	r.add(envoyAnswers.ok(at, "answers, up for %d s", s["server.uptime"]))
	lintDump(r, at, dump)
	judgeStats(r, at, s, processorClusters(dump))
}

// lintDump holds what Envoy runs to the rules of keel envoy lint. A dump is all that this Envoy has.
func lintDump(r *Report, at string, dump []byte) {
	report, err := lint.Lint([]lint.Source{{Name: "config_dump", Text: dump}}, lint.Options{Complete: true})
	if err != nil {
		r.add(envoyAnswers.wrong(Away, at, "its config dump can't be read: %v", err))
		return
	}
	for _, f := range report.Findings {
		status := Error
		if f.Severity == lint.Warning {
			status = Warning
		}
		r.add(Finding{Check: envoyConfig.name, Status: status, At: at, Saw: f.Message + " [" + f.Rule + "]", Danger: f.Danger, Fix: f.Fix})
	}
	for _, u := range report.Unseen {
		r.add(envoyConfig.unseen(at, "%s", u.Message))
	}
	if len(report.Findings)+len(report.Unseen) == 0 {
		r.add(envoyConfig.ok(at, "safe by every rule of keel envoy lint"))
	}
}

// stats are Envoy's counters and gauges since its start, by name.
type stats map[string]uint64

func readStats(text []byte) stats {
	s := make(stats)
	for line := range bytes.Lines(text) {
		name, value, ok := strings.Cut(strings.TrimSpace(string(line)), ": ")
		if n, err := strconv.ParseUint(value, 10, 64); ok && err == nil {
			s[name] = n
		}
	}
	return s
}

// extProc sums a counter over all ext_proc filters: http.PREFIX.ext_proc.PREFIX.NAME, cluster.NAME.… of a filter in a cluster.
func (s stats) extProc(name string) (sum uint64) {
	for full, n := range s {
		if strings.Contains(full, ".ext_proc.") && strings.HasSuffix(full, "."+name) {
			sum += n
		}
	}
	return sum
}

// of sums a statistic over clusters.
func (s stats) of(clusters []string, name string) (sum uint64) {
	for _, c := range clusters {
		sum += s["cluster."+c+"."+name]
	}
	return sum
}

// tolerated is the share of streams that may fail: a processor that was replaced costs some. Past it the failure is not an accident.
const tolerated = 0.01

func judgeStats(r *Report, at string, s stats, clusters []string) {
	if len(clusters) == 0 {
		return // nothing is attached, which the configuration has said
	}
	name := strings.Join(clusters, ", ")
	members, up := s.of(clusters, "membership_total"), s.of(clusters, "membership_healthy")
	r.add(healthy.judge(up == 0, Error, at, "%d of %d endpoints of cluster %s are healthy", up, members, name))

	started, failed, late := s.extProc("streams_started"), s.extProc("streams_failed"), s.extProc("message_timeouts")
	bad := failed + late
	r.add(callsCut.judge(float64(bad) > tolerated*float64(started), Error, at,
		"of %d streams to the processor %d failed and %d messages timed out", started, failed, late))
	// Envoy counts streams that failed as half closed too, up to twice. Past that a processor, or a proxy before it, ended streams as if all were well.
	open, half := s.extProc("failure_mode_allowed"), s.extProc("server_half_closed")
	r.add(failsOpen.judge(open > 0 || half > 2*failed, Error, at, "%d calls went on without the processor, %d streams were half closed", open, half))

	// Envoy 1.40 counts what max_requests refused as active_overflow; before, it was under pending_overflow.
	refused := s.of(clusters, "upstream_rq_active_overflow") + s.of(clusters, "upstream_rq_pending_overflow") + s.of(clusters, "upstream_cx_overflow") + s.of(clusters, "upstream_rq_retry_overflow")
	tripped := s.of(clusters, "circuit_breakers.default.rq_open") + s.of(clusters, "circuit_breakers.default.rq_pending_open") + s.of(clusters, "circuit_breakers.default.cx_open")
	r.add(breakers.judge(refused+tripped > 0, Error, at, "%d streams of cluster %s were refused by a breaker, %d breakers are open", refused, name, tripped))

	written, dropped := s["access_logs.grpc_access_log.logs_written"], s["access_logs.grpc_access_log.logs_dropped"]
	switch {
	case written+dropped == 0:
		r.add(accessLog.unseen(at, "no call has ended yet"))
	default:
		r.add(accessLog.judge(dropped > 0, Warning, at, "%d entries were sent, %d dropped", written, dropped))
	}
}

// processorClusters are the clusters that ext_proc and ext_authz filters of a dump ask.
func processorClusters(dump []byte) []string {
	var root any
	if json.Unmarshal(dump, &root) != nil {
		return nil
	}
	var found []string
	var walk func(v any)
	walk = func(v any) {
		switch v := v.(type) {
		case []any:
			for _, e := range v {
				walk(e)
			}
		case map[string]any:
			kind, _ := v["@type"].(string)
			if strings.HasSuffix(kind, "ext_proc.v3.ExternalProcessor") || strings.HasSuffix(kind, "ext_authz.v3.ExtAuthz") {
				service, _ := v["grpc_service"].(map[string]any)
				grpc, _ := service["envoy_grpc"].(map[string]any)
				if name, _ := grpc["cluster_name"].(string); name != "" && !slices.Contains(found, name) {
					found = append(found, name)
				}
			}
			for _, e := range v {
				walk(e)
			}
		}
	}
	walk(root)
	slices.Sort(found)
	return found
}
