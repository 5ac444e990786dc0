package ledger

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"keel/budget"
)

// cacheFile is the content of a config cache.
type cacheFile struct {
	Format    int             `json:"format"`
	SHA256    string          `json:"sha256"` // of Documents, byte by byte
	Documents json.RawMessage `json:"documents"`
}

const cacheFormat = 1

// SaveCache writes documents to a file from which a replica can start while
// the database is away. The file is whole or as it was before, also when the
// machine stops in between. It may hold contract prices: its mode is 0600.
func SaveCache(path string, docs budget.Documents) (err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("ledger: save config cache %s: %w", path, err)
		}
	}()
	rows, err := encodeDocuments(docs)
	if err != nil {
		return err
	}
	raw, err := json.Marshal(rows)
	if err != nil {
		return err
	}
	sum := sha256.Sum256(raw)
	content, err := json.Marshal(cacheFile{cacheFormat, hex.EncodeToString(sum[:]), raw})
	if err != nil {
		return err
	}
	temp, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*") // mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(temp.Name()) // fails after the rename
	_, err = temp.Write(content)
	if err = errors.Join(err, temp.Sync(), temp.Close()); err != nil {
		return err
	}
	if err := os.Rename(temp.Name(), path); err != nil {
		return err
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

// LoadCache reads what SaveCache wrote and refuses a file that was changed or cut.
func LoadCache(path string) (budget.Documents, error) {
	content, err := os.ReadFile(path)
	if err != nil {
		return budget.Documents{}, fmt.Errorf("ledger: load config cache: %w", err)
	}
	docs, err := parseCache(content)
	if err != nil {
		return budget.Documents{}, fmt.Errorf("ledger: load config cache %s: %w: delete the file and start with the database", path, err)
	}
	return docs, nil
}

func parseCache(content []byte) (budget.Documents, error) {
	var file cacheFile
	if err := json.Unmarshal(content, &file); err != nil {
		return budget.Documents{}, fmt.Errorf("the file is damaged: %w", err)
	}
	if file.Format != cacheFormat {
		return budget.Documents{}, fmt.Errorf("the file has format %d, want %d", file.Format, cacheFormat)
	}
	sum := sha256.Sum256(file.Documents)
	if hex.EncodeToString(sum[:]) != file.SHA256 {
		return budget.Documents{}, errors.New("the file is damaged: its checksum is wrong")
	}
	var rows []document
	if err := json.NewDecoder(bytes.NewReader(file.Documents)).Decode(&rows); err != nil {
		return budget.Documents{}, fmt.Errorf("the file is damaged: %w", err)
	}
	return decodeDocuments(rows)
}
