package ledger

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/uuid"

	"keel/budget"
)

// BenchmarkAnnotateCost measures what a line of the access log costs in CPU, here and in Postgres.
func BenchmarkAnnotateCost(b *testing.B) {
	for _, lines := range []int{1, 10, 100, noteBatch} {
		b.Run(fmt.Sprint("lines=", lines), func(b *testing.B) {
			l := newLab(b)
			l.broken = true // annotations without decisions
			server := serverOf(b, l)
			var spent cpu
			annotate := func() {
				all := make([]budget.Annotation, lines)
				for i := range all {
					all[i] = budget.Annotation{ID: uuid.Must(uuid.NewV7()), Org: budget.DefaultOrg, At: time.Now(), HTTPStatus: 200, Attempts: 1, Details: "via_upstream", ResponseBytes: 812}
				}
				at := used(b, server)
				b.StartTimer()
				if err := l.Annotate(b.Context(), all); err != nil {
					b.Fatal(err)
				}
				b.StopTimer()
				spent.add(used(b, server).since(at))
			}
			b.StopTimer()
			for range 10 {
				annotate()
			}
			spent = cpu{}
			b.ResetTimer()
			b.ReportAllocs()
			for range b.N {
				annotate()
			}
			all := float64(b.N * lines)
			b.ReportMetric(float64(spent.own.Nanoseconds())/1000/all, "go-µs/line")
			b.ReportMetric(float64(spent.postgres.Nanoseconds())/1000/all, "pg-µs/line")
		})
	}
}
