package export

import (
	"context"
	"fmt"
	"math/big"

	"keel/budget/audit/spend"
)

// trueUps are the sums of the adjustments that stand behind the records of a file.
type trueUps struct {
	rows   int64
	nano   *big.Int
	causes map[string]*big.Int
}

// writeTrueUps writes the adjustments of the range. They are written whole or not at all: an export that is cut
// among them goes on behind the last record, so none is there twice.
func writeTrueUps(ctx context.Context, from *spend.Reader, o *Options, s *state, out *sink) (*trueUps, error) {
	ups := &trueUps{nano: new(big.Int), causes: make(map[string]*big.Int)}
	err := from.Adjustments(ctx, o.Query, func(a *spend.Adjustment) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		if ups.rows == 0 {
			if err := out.checkpoint(true); err != nil {
				return err
			}
		}
		out.half = true
		row := o.Table.Adjustment(a)
		if err := checkRow(o.Table.Columns, row); err != nil {
			return fmt.Errorf("adjustment %s: %w", a.ID, err)
		}
		if err := out.write(row); err != nil {
			return err
		}
		ups.count(a)
		return nil
	})
	if err != nil {
		return nil, err
	}
	out.half = false
	return ups, nil
}

func (u *trueUps) count(a *spend.Adjustment) {
	amount := big.NewInt(int64(a.Amount))
	u.rows++
	u.nano.Add(u.nano, amount)
	if u.causes[a.Cause] == nil {
		u.causes[a.Cause] = new(big.Int)
	}
	u.causes[a.Cause].Add(u.causes[a.Cause], amount)
}

// manifest compares the sum with the ledger's own.
func (u *trueUps) manifest(ctx context.Context, from *spend.Reader, o *Options) (TrueUps, error) {
	n, nano, err := from.SumAdjustments(ctx, o.Query)
	if err != nil {
		return TrueUps{}, fmt.Errorf("%w: %w", ErrCut, err)
	}
	if n != u.rows || nano.Cmp(u.nano) != 0 {
		return TrueUps{}, fmt.Errorf("the export does not add up: it has %d true-ups of %s nano-dollars, and the ledger has %d of %s; remove %s* and begin again", u.rows, u.nano, n, nano, partial(o.File))
	}
	t := TrueUps{Rows: u.rows, Sum: AmountOf(u.nano), Causes: make(map[string]Amount), Ledger: AmountOf(nano)}
	for cause, sum := range u.causes {
		t.Causes[cause] = AmountOf(sum)
	}
	return t, nil
}
