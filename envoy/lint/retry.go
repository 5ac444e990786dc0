package lint

import (
	"slices"
	"strings"
	"time"

	"keel/envoy"
)

// judgeRefused judges whether Envoy begins a stream to the processor again, or asks again, where that was refused, and nothing that may
// have been read.
func (l *linter) judgeRefused(c *node, name string) {
	service := c.get("grpc_service")
	if service.get("envoy_grpc") == nil { // Envoy's other client knows no such policy
		return
	}
	policy := service.get("retry_policy")
	on := policy.get("retry_on")
	conditions := strings.FieldsFunc(on.text(), func(r rune) bool { return r == ',' || r == ' ' })
	if n, ok := policy.get("num_retries").number(); !slices.Contains(conditions, "refused-stream") || ok && n == 0 {
		l.find(processorUnretried, service.at("retry_policy"), "%s does not try again what was refused", name)
	}
	for _, condition := range conditions {
		if !envoy.UnseenRetry(condition) {
			l.find(processorRetried, on, "%s tries again on %s", name, condition)
		}
	}
}

// judgeTry judges how long a check may last where it may be tried again: the longest interval between tries bounds each of them, too.
func (l *linter) judgeTry(c *node) {
	policy := c.get("grpc_service", "retry_policy")
	if policy == nil {
		return
	}
	backOff := policy.get("retry_back_off")
	most, ok := backOff.get("max_interval").duration()
	if !ok {
		most = 10 * time.Second // of one second, Envoy's default
		if base, ok := backOff.get("base_interval").duration(); ok {
			most = 10 * base
		}
	}
	if most <= minTimeout {
		l.find(messageTimeout, policy.at("retry_back_off", "max_interval"), "a try lasts as long as max_interval at most: %v", most)
	}
}
