package anthropic

import (
	"keel/filter/wire/walk"
	"keel/pricing/meter"
)

// parts are the bills that make up total, the usage of f, that of the call's own
// model first; nil where the iterations are no more than total in pieces.
//
// The top level does not cover everything that is billed: usage.iterations can
// have steps of another model (advisor_message) and compactions that are left
// out of it (measured on recorded traffic). What is billed by the call, such as
// searches, stays with the call's own model, and so does what the top level has and
// no iteration tells.
func (f *figures) parts(total *meter.Usage, model string) []meter.Part {
	var told, own meter.Usage
	var parts, others []meter.Part
	for i := range f.iterations {
		u, _ := f.iterations[i].usage()
		if u == nil {
			continue
		}
		u[meter.WebSearch] = 0 // the total has them
		add(&told, u)
		if by := f.iterations[i].model; by == "" || by == model {
			add(&own, u)
			parts = addPart(parts, meter.Part{Usage: *u})
		} else {
			others = addPart(others, meter.Part{Model: by, Usage: *u})
		}
	}
	if told == (meter.Usage{}) {
		return nil
	}
	rest := remainder(total, &told)
	add(&own, &rest)
	switch {
	case len(others) == 0 && same(&own, total):
		return nil
	case len(parts) == 0 && rest == (meter.Usage{}):
		return others
	case len(parts) == 0:
		parts = []meter.Part{{}}
	}
	first := &parts[0].Usage
	add(first, &rest)
	// Iterations do not tell reasoning apart.
	reasoned := min(max(total[meter.Reasoning]-own[meter.Reasoning], 0), first[meter.Output])
	first[meter.Reasoning] += reasoned
	first[meter.Output] -= reasoned
	return append(parts, others...)
}

// small is how much input bills may have together to be told as one, in tokens: no price
// list has rates for large inputs that begin as low (Anthropic, Pricing: 200,000).
const small = 100_000

// addPart adds a bill. It goes into the last one of the same model where both are too
// small for their size to decide the price.
func addPart(parts []meter.Part, part meter.Part) []meter.Part {
	for i := len(parts) - 1; i >= 0; i-- {
		if parts[i].Model != part.Model {
			continue
		}
		if parts[i].Usage.InputTokens()+part.Usage.InputTokens() > small {
			break
		}
		add(&parts[i].Usage, &part.Usage)
		return parts
	}
	return append(parts, part)
}

// add adds v to u.
func add(u, v *meter.Usage) {
	for kind, n := range v {
		u[kind] = min(u[kind]+n, walk.MaxCount)
	}
}

// remainder is what total has and told has not: more is better than less. Lifetimes
// of cache writes and reasoning may be told on one side only, so
// they are compared together with what they are part of.
func remainder(total, told *meter.Usage) (rest meter.Usage) {
	for kind, n := range total {
		switch meter.Kind(kind) {
		case meter.CacheWrite5m, meter.CacheWrite1h, meter.Output, meter.Reasoning:
		default:
			rest[kind] = max(n-told[kind], 0)
		}
	}
	rest[meter.CacheWrite5m] = max(total.CacheWriteTokens()-told.CacheWriteTokens(), 0)
	rest[meter.Output] = max(total.OutputTokens()-told.OutputTokens(), 0)
	return rest
}

// same reports whether two usages are the same bill: reasoning is output, and the
// lifetimes of cache writes are as they are told.
func same(a, b *meter.Usage) bool {
	return remainder(a, b) == (meter.Usage{}) && remainder(b, a) == (meter.Usage{}) && a[meter.CacheWrite1h] == b[meter.CacheWrite1h]
}
