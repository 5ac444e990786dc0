package reconcile

import (
	"bufio"
	"bytes"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/big"
	"slices"
	"strings"
	"time"
)

// Options say how a file is to be read.
type Options struct {
	Zone    *time.Location      // of days; nil for the provider's own
	Rates   map[string]*big.Rat // dollars for one of a currency
	Mapping *Mapping            // of a generic file
}

// Providers are the ones that a file can come from.
var Providers = []string{"openai", "anthropic", "bedrock", "google", "openrouter", "generic"}

// pacific is where days of Google's bills begin: https://cloud.google.com/billing/docs/how-to/bq-examples, "Pacific".
const pacific = "America/Los_Angeles"

// Read reads a provider's file. Errors name the line or record.
func Read(provider string, in io.Reader, o Options) (*Statement, error) {
	r := &reader{Options: &o}
	r.s.Provider, r.s.Zone = provider, o.Zone
	if r.s.Zone == nil {
		r.s.Zone = time.UTC
		if provider == "google" {
			zone, err := time.LoadLocation(pacific)
			if err != nil {
				return nil, err
			}
			r.s.Zone = zone
		}
	}
	buffered := bufio.NewReaderSize(in, 1<<16)
	if bom, _ := buffered.Peek(3); bytes.Equal(bom, []byte("\xef\xbb\xbf")) {
		_, _ = buffered.Discard(3)
	}
	var err error
	switch provider {
	case "openai":
		err = r.either(buffered, r.openaiJSON, r.openaiRow)
	case "anthropic":
		err = r.either(buffered, r.anthropicJSON, r.anthropicRow)
	case "bedrock":
		err = r.csv(buffered, r.awsRow)
	case "google":
		err = r.either(buffered, r.googleJSON, r.googleRow)
	case "openrouter":
		err = r.either(buffered, r.openrouterJSON, r.openrouterRow)
	case "generic":
		if o.Mapping == nil {
			return nil, errors.New("a generic file needs a mapping")
		}
		r.s.Provider = o.Mapping.Provider
		if o.Zone == nil && o.Mapping.zone != nil {
			r.s.Zone = o.Mapping.zone
		}
		err = r.either(buffered, r.genericJSON, r.genericRow)
	default:
		err = fmt.Errorf("provider %q: there are %s", provider, strings.Join(Providers, ", "))
	}
	r.s.LeftOut = r.leftOut()
	if err == nil && r.more != "" {
		err = fmt.Errorf("the last page says that there is another, %s: a part of a statement can't be compared; fetch it, and append it to the file as it is", r.more)
	}
	if err == nil && len(r.s.Lines) == 0 {
		err = errors.New("nothing in the file can be compared")
		if len(r.s.LeftOut) > 0 {
			err = fmt.Errorf("%w: %s", err, strings.Join(r.s.LeftOut, "; "))
		}
	}
	if err != nil {
		return nil, err
	}
	return &r.s, nil
}

// either reads JSON where the file begins like it, else CSV.
func (r *reader) either(in *bufio.Reader, object func(json.RawMessage) error, row func(fields) error) error {
	for {
		b, err := in.Peek(1)
		if err != nil {
			return errors.New("the file is empty")
		}
		if b[0] != ' ' && b[0] != '\n' && b[0] != '\r' && b[0] != '\t' {
			if b[0] == '{' || b[0] == '[' {
				return r.json(in, object)
			}
			return r.csv(in, row)
		}
		_, _ = in.Discard(1)
	}
}

// json reads one object or list after the other: pages of an API, or JSON lines.
func (r *reader) json(in io.Reader, object func(json.RawMessage) error) error {
	d := json.NewDecoder(in)
	for n := 1; ; n++ {
		var page json.RawMessage
		if err := d.Decode(&page); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return fmt.Errorf("record %d: %w", n, err)
		}
		var list []json.RawMessage
		if page[0] == '[' {
			if err := json.Unmarshal(page, &list); err != nil {
				return fmt.Errorf("record %d: %w", n, err)
			}
		} else {
			list = []json.RawMessage{page}
		}
		for i, one := range list {
			if err := object(one); err != nil {
				return fmt.Errorf("record %d: %w", n+i, err)
			}
		}
	}
}

// fields are a row of a CSV file by column, in lower case.
type fields map[string]string

// first is the value of the first of columns that is there.
func (f fields) first(columns ...string) string {
	for _, c := range columns {
		if v, ok := f[c]; ok && v != "" {
			return v
		}
	}
	return ""
}

func (f fields) anyOf(columns ...string) bool {
	for _, c := range columns {
		if _, ok := f[c]; ok {
			return true
		}
	}
	return false
}

func (r *reader) csv(in io.Reader, row func(fields) error) error {
	c := csv.NewReader(in)
	c.ReuseRecord = true
	header, err := c.Read()
	if err != nil {
		return fmt.Errorf("line 1: %w", err)
	}
	header = slices.Clone(header)
	for i := range header {
		header[i] = strings.ToLower(strings.TrimSpace(header[i]))
	}
	f := make(fields, len(header))
	for {
		record, err := c.Read()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		clear(f)
		for i, name := range header {
			if i < len(record) {
				f[name] = record[i]
			}
		}
		if err := row(f); err != nil {
			line, _ := c.FieldPos(0)
			return fmt.Errorf("line %d: %w", line, err)
		}
	}
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
