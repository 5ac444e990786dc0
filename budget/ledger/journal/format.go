package journal

import (
	"encoding/binary"
	"hash/crc32"

	"github.com/google/uuid"
)

// formatVersion is of everything below and of meta.json.
const formatVersion = 1

// A segment is a file of a fixed size:
//
//	0     magic, version u32, crc u32, epoch, index u64, size u64, then zeros
//	512   mark: synced u64, sealed u64, crc u32, then zeros
//	4096  records, each 8-byte aligned, then zeros
//
// A record is, little-endian:
//
//	size u32        of what follows the checksum, without padding; 0 is the end
//	crc32c u32      of the size and of what follows, salted with the epoch and the position
//	journal seq u64
//	synced u64      the position up to which the journal was known to be durable then
//	org length u16, org
//	org seq u64
//	kind u8
//	payload, zeros up to a multiple of 8
//
// The salt makes a record valid only where it was written: old bytes that turn up
// elsewhere, also inside of a payload, are no records.
const (
	recordsAt    = 4096
	markAt       = 512
	headBytes    = 8 + 4 + 4 + 16 + 8 + 8
	markBytes    = 8 + 8 + 4
	alignment    = 8
	frameBytes   = 4 + 4
	fixedBytes   = 8 + 8 + 2 + 8 + 1
	smallest     = 40 // record: without org and payload, padded
	maxOrg       = 1<<16 - 1
	segmentsMin  = 16 << 10
	segmentsMax  = 1 << 30
	segmentMagic = "KEELJRNL"
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func saltOf(epoch uuid.UUID) uint32 { return crc32.Checksum(epoch[:], castagnoli) }

func aligned(n int64) int64 { return (n + alignment - 1) &^ (alignment - 1) }

func recordBytes(org string, payload []byte) int64 {
	return aligned(frameBytes + fixedBytes + int64(len(org)) + int64(len(payload)))
}

// frame is a record as it lies in a segment.
type frame struct {
	journalSeq, synced, seq uint64
	org, payload            []byte
	kind                    byte
	size                    int64 // with padding
}

// checksum is of a record with size bytes after the frame.
func checksum(b []byte, size int64, salt uint32, at int64) uint32 {
	return crc32.Update(crc32.Update(salt^uint32(at/alignment), castagnoli, b[:4]), castagnoli, b[frameBytes:frameBytes+size])
}

// appendRecord encodes a record that will lie at a position of the journal.
func appendRecord(b []byte, salt uint32, at int64, journalSeq, synced uint64, org string, seq uint64, kind byte, payload []byte) []byte {
	start := len(b)
	b = binary.LittleEndian.AppendUint32(b, uint32(fixedBytes+len(org)+len(payload)))
	b = append(b, 0, 0, 0, 0)
	b = binary.LittleEndian.AppendUint64(b, journalSeq)
	b = binary.LittleEndian.AppendUint64(b, synced)
	b = binary.LittleEndian.AppendUint16(b, uint16(len(org)))
	b = append(b, org...)
	b = binary.LittleEndian.AppendUint64(b, seq)
	b = append(b, kind)
	b = append(b, payload...)
	r := b[start:]
	binary.LittleEndian.PutUint32(r[4:], checksum(r, int64(len(r)-frameBytes), salt, at))
	var zeros [alignment]byte
	return append(b, zeros[:aligned(int64(len(r)))-int64(len(r))]...)
}

// extent is how many bytes the record takes that begins with b, as it says
// itself, which nothing has checked yet; 0 at the end of the records.
func extent(b []byte) int64 {
	n := int64(binary.LittleEndian.Uint32(b))
	if n == 0 {
		return 0
	}
	return aligned(frameBytes + n)
}

// parse reads the record at the beginning of b, which lies at a position of the
// journal. It is not ok where there is none, or not all of it, or a changed one.
func parse(b []byte, salt uint32, at int64) (f frame, ok bool) {
	if len(b) < smallest {
		return f, false
	}
	size := int64(binary.LittleEndian.Uint32(b))
	f.size = aligned(frameBytes + size)
	org := int64(binary.LittleEndian.Uint16(b[24:]))
	if size < fixedBytes+org || f.size > int64(len(b)) || checksum(b, size, salt, at) != binary.LittleEndian.Uint32(b[4:]) {
		return f, false
	}
	for _, c := range b[frameBytes+size : f.size] {
		if c != 0 {
			return f, false
		}
	}
	f.journalSeq = binary.LittleEndian.Uint64(b[8:])
	f.synced = binary.LittleEndian.Uint64(b[16:])
	f.org = b[26 : 26+org]
	f.seq = binary.LittleEndian.Uint64(b[26+org:])
	f.kind = b[34+org]
	f.payload = b[35+org : frameBytes+size]
	return f, true
}

func segmentHead(epoch uuid.UUID, index, size int64) []byte {
	b := make([]byte, 0, headBytes)
	b = append(b, segmentMagic...)
	b = binary.LittleEndian.AppendUint32(b, formatVersion)
	b = append(b, 0, 0, 0, 0)
	b = append(b, epoch[:]...)
	b = binary.LittleEndian.AppendUint64(b, uint64(index))
	b = binary.LittleEndian.AppendUint64(b, uint64(size))
	binary.LittleEndian.PutUint32(b[12:], crc32.Checksum(b, castagnoli))
	return b
}

// A mark says, behind the back of the records, how far a segment is durable. It is
// written after a sync with nothing behind it that would say so.
func appendMark(b []byte, salt uint32, index int64, synced int64, sealed bool) []byte {
	start := len(b)
	b = binary.LittleEndian.AppendUint64(b, uint64(synced))
	var flag uint64
	if sealed {
		flag = 1
	}
	b = binary.LittleEndian.AppendUint64(b, flag)
	return binary.LittleEndian.AppendUint32(b, crc32.Update(salt^uint32(index), castagnoli, b[start:]))
}

// parseMark reads a mark; all zeros are a segment that has none yet.
func parseMark(b []byte, salt uint32, index int64) (synced int64, sealed, ok bool) {
	if allZero(b[:markBytes]) {
		return 0, false, true
	}
	if binary.LittleEndian.Uint32(b[16:]) != crc32.Update(salt^uint32(index), castagnoli, b[:16]) {
		return 0, false, false
	}
	return int64(binary.LittleEndian.Uint64(b)), binary.LittleEndian.Uint64(b[8:]) == 1, true
}

func allZero(b []byte) bool {
	for len(b) >= 8 {
		if binary.LittleEndian.Uint64(b) != 0 {
			return false
		}
		b = b[8:]
	}
	for _, c := range b {
		if c != 0 {
			return false
		}
	}
	return true
}
