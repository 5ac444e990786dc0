package reconcile

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/goccy/go-yaml"

	"keel/pricing/meter"
)

// Mapping says where a file that Keel has no reader for has what. It is YAML; unknown fields are refused.
type Mapping struct {
	Provider string            `yaml:"provider"` // as Keel calls it
	Timezone string            `yaml:"timezone"` // of its days; UTC without
	Columns  Columns           `yaml:"columns"`
	Meters   map[string]string `yaml:"meters"` // what the file calls a meter → what Keel does
	Models   map[string]string `yaml:"models"` // what the file calls a model → what Keel does
	Cents    bool              `yaml:"cents"`  // costs are hundredths

	zone *time.Location
}

// Columns names columns of CSV or fields of JSON objects, "a.b" for a field within a field. Day is needed, and cost or quantity.
type Columns struct {
	Day      string `yaml:"day"`
	Model    string `yaml:"model"`
	Account  string `yaml:"account"`
	Meter    string `yaml:"meter"`
	Quantity string `yaml:"quantity"`
	Cost     string `yaml:"cost"`
	Currency string `yaml:"currency"`
}

// ReadMapping reads a mapping file.
func ReadMapping(text []byte) (*Mapping, error) {
	m := new(Mapping)
	if err := yaml.UnmarshalWithOptions(text, m, yaml.Strict()); err != nil {
		return nil, fmt.Errorf("mapping: %w", err)
	}
	switch {
	case m.Provider == "":
		return nil, errors.New("mapping: provider: say which one, as the records have it")
	case m.Columns.Day == "":
		return nil, errors.New("mapping: columns.day: name the column")
	case m.Columns.Cost == "" && m.Columns.Quantity == "":
		return nil, errors.New("mapping: columns.cost, or columns.quantity: name the column")
	case m.Columns.Quantity != "" && m.Columns.Meter == "":
		return nil, errors.New("mapping: columns.meter: a quantity needs to say of what")
	}
	for from, to := range m.Meters {
		if _, err := meter.ParseKind(to); err != nil {
			return nil, fmt.Errorf("mapping: meters.%s: %w", from, err)
		}
	}
	if m.Timezone != "" {
		var err error
		if m.zone, err = time.LoadLocation(m.Timezone); err != nil {
			return nil, fmt.Errorf("mapping: timezone: %w", err)
		}
	}
	lower := func(s *string) { *s = strings.ToLower(*s) }
	for _, c := range []*string{&m.Columns.Day, &m.Columns.Model, &m.Columns.Account, &m.Columns.Meter, &m.Columns.Quantity, &m.Columns.Cost, &m.Columns.Currency} {
		lower(c)
	}
	return m, nil
}

func (r *reader) genericJSON(text json.RawMessage) error {
	var object any
	d := json.NewDecoder(strings.NewReader(string(text)))
	d.UseNumber()
	if err := d.Decode(&object); err != nil {
		return err
	}
	f := make(fields)
	flatten(f, "", object, 0)
	return r.genericRow(f)
}

func flatten(f fields, name string, v any, depth int) {
	switch v := v.(type) {
	case nil:
	case map[string]any:
		if depth > 8 {
			return
		}
		for k, inner := range v {
			path := strings.ToLower(k)
			if name != "" {
				path = name + "." + path
			}
			flatten(f, path, inner, depth+1)
		}
	default:
		f[name] = fmt.Sprint(v)
	}
}

func (r *reader) genericRow(f fields) error {
	m, c := r.Mapping, &r.Mapping.Columns
	at, err := r.day(f[c.Day])
	if err != nil {
		return fmt.Errorf("%s: %w", c.Day, err)
	}
	value := func(column string) string {
		if column == "" {
			return ""
		}
		return strings.TrimSpace(f[column])
	}
	l := Line{At: at, Model: value(c.Model), Account: value(c.Account)}
	if as, ok := m.Models[l.Model]; ok {
		l.Model = as
	}
	if said := value(c.Meter); said != "" {
		if l.Meter = m.Meters[said]; l.Meter == "" {
			if _, err := meter.ParseKind(said); err != nil {
				return fmt.Errorf("%s: %q is no meter of Keel's: say under meters what it is", c.Meter, said)
			}
			l.Meter = said
		}
	}
	if text := value(c.Quantity); text != "" {
		if l.Quantity, err = number(text); err != nil || l.Quantity.Sign() < 0 {
			return fmt.Errorf("%s: %.60q is not a quantity", c.Quantity, text)
		}
	}
	if text := value(c.Cost); text != "" {
		if err := r.cost(&l, text, value(c.Currency)); err != nil {
			return err
		}
		if m.Cents {
			l.Cost.Quo(l.Cost, hundred)
			l.Places += 2
		}
	}
	if l.Cost == nil && l.Quantity == nil {
		return errors.New("neither a cost nor a quantity")
	}
	r.add(l)
	return nil
}
