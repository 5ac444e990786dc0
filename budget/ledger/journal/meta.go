package journal

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/google/uuid"
)

const metaName = "meta.json"

// meta is what is known of a whole journal. It is written once.
type meta struct {
	FormatVersion int       `json:"format_version"`
	Host          string    `json:"host"`
	Epoch         uuid.UUID `json:"epoch"`
	CreatedAt     time.Time `json:"created_at"`
	SegmentBytes  int64     `json:"segment_bytes"`
	Check         string    `json:"check"` // crc32c of this document with an empty check
}

func (m meta) encode() ([]byte, error) {
	m.Check = ""
	b, err := json.Marshal(m)
	if err != nil {
		return nil, err
	}
	m.Check = fmt.Sprintf("%08x", crc32.Checksum(b, castagnoli))
	b, err = json.MarshalIndent(m, "", "  ")
	return append(b, '\n'), err
}

// readMeta reads the meta.json of an epoch. It must be, byte for byte, what was written.
func readMeta(dir string, epoch uuid.UUID) (m meta, err error) {
	name := filepath.Join(dir, metaName)
	b, err := readSmall(name)
	if errors.Is(err, fs.ErrNotExist) {
		return m, &DamagedError{name, 0, "the file is missing"}
	}
	if err != nil {
		return m, err
	}
	var version struct {
		FormatVersion int `json:"format_version"`
	}
	if err := json.Unmarshal(b, &version); err != nil {
		return m, &DamagedError{name, 0, err.Error()}
	}
	if version.FormatVersion != formatVersion {
		return m, &VersionError{name, version.FormatVersion}
	}
	if err := json.Unmarshal(b, &m); err != nil {
		return m, &DamagedError{name, 0, err.Error()}
	}
	if again, err := m.encode(); err != nil || !bytes.Equal(again, b) {
		return m, &DamagedError{name, 0, "it is not what was written: its check does not fit"}
	}
	if m.Epoch != epoch {
		return m, &DamagedError{name, 0, fmt.Sprintf("it is of epoch %s", m.Epoch)}
	}
	if err := checkSegmentBytes(m.SegmentBytes); err != nil {
		return m, &DamagedError{name, 0, err.Error()}
	}
	return m, nil
}

// readSmall reads a file that is never large; a larger one fails its check.
func readSmall(name string) ([]byte, error) {
	file, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	return io.ReadAll(io.LimitReader(file, 64<<10))
}

func checkSegmentBytes(n int64) error {
	if n < segmentsMin || n > segmentsMax || n%recordsAt != 0 {
		return fmt.Errorf("segments of %d bytes: must be a multiple of %d between %d and %d", n, recordsAt, segmentsMin, segmentsMax)
	}
	return nil
}
