package lint

// judgeAgain finds a policy by which Envoy would begin a stream to the processor again, or ask again.
func (l *linter) judgeAgain(c *node, name string) {
	if policy := c.get("grpc_service", "retry_policy"); policy != nil {
		l.find(processorRetried, policy, "%s has a retry_policy", name)
	}
}
