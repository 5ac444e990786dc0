package filter

import (
	"encoding/json"
	"errors"
	"strconv"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"keel/budget"
	"keel/filter/wire/walk"
)

// A carriedCall is written for each call, and read for each attempt and each line of the access log, so neither goes by reflection. The text is
// what encoding/json makes and reads of the same value, but for how it writes < > and &: other releases do it by that.

// append adds c to b.
func (c *carriedCall) append(b []byte) []byte {
	b = c.At.AppendFormat(append(b, `{"at":"`...), time.RFC3339Nano)
	b = appendText(append(b, `","method":`...), c.Method)
	b = appendText(append(b, `,"path":`...), c.Path)
	b = appendText(append(b, `,"asked":`...), c.Asked)
	b = appendTrue(b, `,"stream":`, c.Stream)
	b = appendText(append(b, `,"provider":`...), c.Provider)
	b = appendText(append(b, `,"model":`...), c.Model)
	b = appendSome(b, `,"service_tier":`, c.ServiceTier)
	b = appendSome(b, `,"speed":`, c.Speed)
	b = appendSome(b, `,"region":`, c.Region)
	b = appendSome(b, `,"search_context":`, c.SearchContext)
	b = strconv.AppendInt(append(b, `,"input_tokens_bound":`...), c.InputBound, 10)
	b = strconv.AppendInt(append(b, `,"output_tokens_bound":`...), c.OutputBound, 10)
	b = c.Bound.Append(append(b, `,"bound_usd":"`...))
	b = appendSome(append(b, '"'), `,"unpriced":`, c.Unpriced)
	b = c.Limit.Append(append(b, `,"envelope":{"limit_usd":"`...))
	b = strconv.AppendInt(append(b, `","max_attempts":`...), c.Attempts, 10)
	b = appendText(append(b, `,"mode":`...), string(c.Mode))
	b = append(appendText(append(b, `,"unknown":`...), string(c.Unknown)), '}')
	if len(c.Rewrites) > 0 {
		b = appendRare(append(b, `,"rewrites":`...), c.Rewrites)
	}
	b = appendCount(b, `,"input_tokens":`, c.Input)
	b = appendTrue(b, `,"wants_usage":`, c.WantsUsage)
	b = appendCount(b, `,"choices":`, c.Choices)
	b = appendTrue(b, `,"background":`, c.Background)
	b = appendTrue(b, `,"retrieval":`, c.Retrieval)
	b = appendSome(b, `,"beside":`, c.Beside)
	if c.Change != nil {
		b = appendRare(append(b, `,"change":`...), c.Change)
	}
	return append(b, '}')
}

func appendText(b []byte, text string) []byte {
	b, _ = jsontext.AppendQuote(b, text) // an error says that what is not UTF-8 was replaced
	return b
}

func appendSome(b []byte, name, text string) []byte {
	if text == "" {
		return b
	}
	return appendText(append(b, name...), text)
}

func appendTrue(b []byte, name string, is bool) []byte {
	if !is {
		return b
	}
	return append(append(b, name...), "true"...)
}

func appendCount(b []byte, name string, n int64) []byte {
	if n == 0 {
		return b
	}
	return strconv.AppendInt(append(b, name...), n, 10)
}

// appendRare adds a value by reflection: what few calls carry, and what is no carriedCall.
func appendRare(b []byte, value any) []byte {
	text, err := json.Marshal(value)
	if err != nil { // plain values always encode
		panic(err)
	}
	return append(b, text...)
}

var errNotCarried = errors.New("nothing is there")

// read reads what append, or another release, wrote.
func (c *carriedCall) read(text []byte) error {
	if len(text) == 0 {
		return errNotCarried
	}
	*c = carriedCall{}
	_, err := walk.Request(text, c.member)
	return err
}

func (c *carriedCall) member(at *walk.Cursor, name []byte) error {
	switch string(name) {
	case "at":
		return readAs(at, &c.At)
	case "method":
		return readText(at, &c.Method)
	case "path":
		return readText(at, &c.Path)
	case "asked":
		return readText(at, &c.Asked)
	case "stream":
		return readTruth(at, &c.Stream)
	case "provider":
		return readText(at, &c.Provider)
	case "model":
		return readText(at, &c.Model)
	case "service_tier":
		return readText(at, &c.ServiceTier)
	case "speed":
		return readText(at, &c.Speed)
	case "region":
		return readText(at, &c.Region)
	case "search_context":
		return readText(at, &c.SearchContext)
	case "input_tokens_bound":
		return readCount(at, &c.InputBound)
	case "output_tokens_bound":
		return readCount(at, &c.OutputBound)
	case "bound_usd":
		return readAs(at, &c.Bound)
	case "unpriced":
		return readText(at, &c.Unpriced)
	case "envelope":
		return at.Object(func(name []byte) error { return readEnvelope(at, name, &c.Envelope) })
	case "rewrites":
		return readRare(at, &c.Rewrites)
	case "input_tokens":
		return readCount(at, &c.Input)
	case "wants_usage":
		return readTruth(at, &c.WantsUsage)
	case "choices":
		return readCount(at, &c.Choices)
	case "background":
		return readTruth(at, &c.Background)
	case "retrieval":
		return readTruth(at, &c.Retrieval)
	case "beside":
		return readText(at, &c.Beside)
	case "change":
		return readRare(at, &c.Change)
	}
	return nil // of a later release
}

func readEnvelope(at *walk.Cursor, name []byte, e *budget.Envelope) error {
	switch string(name) {
	case "limit_usd":
		return readAs(at, &e.Limit)
	case "max_attempts":
		return readCount(at, &e.Attempts)
	case "mode":
		return readText(at, &e.Mode)
	case "unknown":
		return readText(at, &e.Unknown)
	}
	return nil
}

func readText[T ~string](at *walk.Cursor, into *T) error {
	text, err := at.Text()
	*into = T(text)
	return err
}

func readTruth(at *walk.Cursor, into *bool) (err error) {
	*into, err = at.Bool()
	return err
}

func readCount(at *walk.Cursor, into *int64) (err error) {
	*into, _, err = at.Int()
	return err
}

// readAs reads a value of which a text is made.
func readAs(at *walk.Cursor, into interface{ UnmarshalText([]byte) error }) error {
	text, err := at.Text()
	if err != nil || text == nil {
		return err
	}
	return into.UnmarshalText(text)
}

// readRare reads what appendRare wrote.
func readRare(at *walk.Cursor, into any) error {
	text, err := at.Value()
	if err != nil {
		return err
	}
	return json.Unmarshal(text, into)
}
