package ledger

import (
	"testing"

	"keel/budget"
)

// BenchmarkPermit takes holds in six budgets, one of them shared by every call.
func BenchmarkPermit(b *testing.B) {
	l := open(b, database(b), testOptions())
	var holds []budget.Hold
	for _, name := range []string{"a", "b", "c", "d", "e", "f"} {
		holds = append(holds, hold(name, 1, 1_000_000_000*cent))
	}
	b.SetParallelism(4)
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			d := decision(holds...)
			if err := l.Permit(b.Context(), d); err != nil {
				b.Error(err)
			}
			l.CloseOut(closeout(d, 1))
		}
	})
}
