package audit

import (
	"context"
	"fmt"
	"strings"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"keel/budget/audit/leaf"
	"keel/budget/ledger"
	"keel/budget/ledger/escrow"
	ondisk "keel/budget/ledger/journal"
	"keel/budget/ledger/record"
)

// Journals on disk are the second witness: what a processor wrote before the database had it. They are read and compared
// after the snapshot, with transactions of their own that begin behind what was read, so that what is settled meanwhile is no finding.

// diskBatch is how many records of an org are compared at once.
const diskBatch = 1000

// diskCheck compares the journals of folders with the database.
type diskCheck struct {
	ctx  context.Context
	conn *pgx.Conn
	org  string // "" for all

	gone   func(kind, org string, id uuid.UUID) bool // whether a record was retired with its month
	found  func(Wrong, Finding)
	notice func(format string, args ...any)

	decoder record.Decoder
	batches map[string]*escrow.Batch // of the journal that is read, by org
	settled map[string]uint64        // of it, the last number that the disk says is settled
	looked  map[uuid.UUID]bool

	same, waiting, lacking int64
}

func (d *diskCheck) run(folders []string) error {
	d.looked = make(map[uuid.UUID]bool)
	for _, dir := range folders {
		current := uuid.Nil
		begin := func(epoch uuid.UUID) error {
			err := d.flushAll()
			current, d.batches, d.settled = epoch, make(map[string]*escrow.Batch), make(map[string]uint64)
			return err
		}
		looked, err := ondisk.Look(dir, func(s ondisk.Seen) error {
			if s.Epoch != current {
				if err := begin(s.Epoch); err != nil {
					return err
				}
			}
			return d.see(s)
		})
		if err == nil {
			err = begin(uuid.Nil)
		}
		if err != nil {
			return fmt.Errorf("journals in %s: %w", dir, err)
		}
		if len(looked) == 0 {
			d.notice("folder %s has no journal", dir)
		}
		for _, l := range looked {
			d.looked[l.Epoch] = true
			switch aside := strings.Contains(l.Path, ".aside-"); {
			case l.Damage != "" && aside:
				d.notice("journal %s is kept aside, and was compared as far as it goes: %s", l.Path, l.Damage)
			case l.Damage != "":
				d.found(Changed, Finding{What: "journal " + l.Epoch.String() + " on disk", Epoch: l.Epoch.String(), Why: l.Damage})
			}
		}
	}
	return d.missing()
}

func (d *diskCheck) see(s ondisk.Seen) error {
	org := record.Text(s.Org)
	if d.org != "" && org != d.org {
		return nil
	}
	r, err := escrow.Decode(&d.decoder, s.Record)
	if err != nil {
		return fmt.Errorf("journal %s, org %s, record %d: %w", s.Epoch, org, s.Seq, err)
	}
	b := d.batches[org]
	if b == nil {
		b = &escrow.Batch{Epoch: s.Epoch, Org: org}
		d.batches[org] = b
	}
	b.Records = append(b.Records, r)
	if s.Settled {
		d.settled[org] = s.Seq
	}
	if len(b.Records) == diskBatch {
		return d.flush(b)
	}
	return nil
}

func (d *diskCheck) flushAll() error {
	for _, b := range d.batches {
		if err := d.flush(b); err != nil {
			return err
		}
	}
	return nil
}

// flush compares what was read.
func (d *diskCheck) flush(b *escrow.Batch) error {
	if len(b.Records) == 0 {
		return nil
	}
	err := pgx.BeginTxFunc(d.ctx, d.conn, readOnly, func(tx pgx.Tx) error {
		var applied int64
		if err := tx.QueryRow(d.ctx, "select coalesce(max(applied_seq), 0) from keel.epochs where org = $1 and epoch = $2", b.Org, b.Epoch).Scan(&applied); err != nil {
			return err
		}
		known := *b
		for i := range b.Records {
			if b.Records[i].Seq > uint64(applied) {
				known.Records = b.Records[:i]
				break
			}
		}
		d.beyond(b, known.Records, applied)
		if len(known.Records) == 0 {
			return nil
		}
		if _, err := tx.Exec(d.ctx, "set local plan_cache_mode = force_custom_plan; set local enable_seqscan = off; set local jit = off"); err != nil {
			return err
		}
		differences, err := ledger.CompareJournal(d.ctx, tx, known, leaf.Committed)
		if err != nil {
			return fmt.Errorf("compare journal %s of org %s: %w", b.Epoch, b.Org, err)
		}
		d.same += int64(len(known.Records))
		for _, x := range differences {
			d.differs(b, x)
		}
		return nil
	})
	b.Records = b.Records[:0]
	return err
}

// beyond is for the records of a batch that the database does not say it settled.
func (d *diskCheck) beyond(b *escrow.Batch, known []escrow.Record, applied int64) {
	rest := b.Records[len(known):]
	if len(rest) == 0 {
		return
	}
	if last := d.settled[b.Org]; last >= rest[0].Seq {
		until := min(last, rest[len(rest)-1].Seq)
		d.lacking += int64(until - rest[0].Seq + 1)
		d.found(Removed, Finding{What: fmt.Sprintf("records %d to %d of journal %s of org %s", rest[0].Seq, until, b.Epoch, b.Org), Org: b.Org, Epoch: b.Epoch.String(),
			Why: fmt.Sprintf("the journal on disk has them, and was told that the database does; the database says that it has %d", applied)})
		for len(rest) > 0 && rest[0].Seq <= until {
			rest = rest[1:]
		}
	}
	d.waiting += int64(len(rest))
}

func (d *diskCheck) differs(b *escrow.Batch, x ledger.Difference) {
	d.same--
	if x.Missing && d.gone(x.Kind, b.Org, x.Decision) {
		return
	}
	f := Finding{What: fmt.Sprintf("%s %s of org %s", x.Kind, x.Decision, b.Org), Org: b.Org, ID: x.Decision.String(), Epoch: b.Epoch.String()}
	if x.Decision == uuid.Nil {
		f.ID, f.What = "", fmt.Sprintf("record %d of journal %s of org %s", x.Seq, b.Epoch, b.Org)
	}
	if x.Missing {
		d.lacking++
		f.Why = fmt.Sprintf("journal %s has it on disk as record %d, and the database has no row of it", b.Epoch, x.Seq)
		d.found(Removed, f)
		return
	}
	f.Why = fmt.Sprintf("journal %s says otherwise on disk, in record %d: %s", b.Epoch, x.Seq, strings.Join(x.Columns, ", "))
	d.found(Changed, f)
}

// retainHours is how long processors keep what is settled: journal.Options.Retain.
const retainHours = 24

// missing notes journals that some disk should still have, and that were not among the folders.
func (d *diskCheck) missing() error {
	rows, err := d.conn.Query(d.ctx, `
select distinct e.epoch, coalesce(r.host, '') from keel.epochs e left join keel.replicas r on r.epoch = e.epoch
where ($1 = '' or e.org = $1) and e.applied_seq > 0 and e.changed_at > now() - make_interval(hours => $2) order by 1`, d.org, retainHours)
	if err != nil {
		return err
	}
	var epoch uuid.UUID
	var host string
	_, err = pgx.ForEachRow(rows, []any{&epoch, &host}, func() error {
		if !d.looked[epoch] {
			d.notice("journal %s of host %q was settled from within %d hours, and is in none of the folders: the disk of that processor should have it; where it is gone, nobody can compare it", epoch, host, retainHours)
		}
		return nil
	})
	return err
}

// onDisk compares the journals that were given.
func (v *verification) onDisk(ctx context.Context) error {
	if len(v.o.Journals) == 0 {
		return nil
	}
	conn, err := connect(ctx, v.o.Database, "keel audit verify")
	if err != nil {
		return err
	}
	defer closeConn(conn)
	retired, err := readRetired(ctx, conn)
	if err != nil {
		return err
	}
	d := &diskCheck{ctx: ctx, conn: conn, org: v.o.Org, found: v.findings.add, notice: v.findings.notice,
		gone: retiredMonths(retired)}
	if err := d.run(v.o.Journals); err != nil {
		return err
	}
	v.report.OnDisk, v.report.Waiting = d.same, d.waiting
	return nil
}

// retiredMonths tells which records may be gone, because their month is.
func retiredMonths(retired map[retirement]string) func(kind, org string, id uuid.UUID) bool {
	return func(kind, org string, id uuid.UUID) bool {
		_, ok := retired[retirement{org, instantOf(id).Format("2006_01")}]
		return ok && kind != "entry"
	}
}
