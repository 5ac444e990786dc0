-- serves 018
-- Settlement makes the hash of a leaf of what it writes, and announces it: 32 bytes for each of ids, in their order. Null, as whoever
-- else announces leaves it: the sequencer reads the rows.
alter table keel.outbox add column hashes bytea;
