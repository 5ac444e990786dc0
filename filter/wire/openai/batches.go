package openai

import (
	"keel/filter/wire"
	"keel/filter/wire/walk"
	"keel/pricing/tokens"
)

// createBatch is the codec of starting a batch: of requests in a file (OpenAI, Azure, Groq,
// Together) or in the body (Mistral). Each of them is billed when it is done; the job
// tells what all have used, and is asked for that under its id.
var createBatch = &format{
	api: wire.OpenAIBatches, task: tokens.Generate, nameless: true,
	member: func(r *request, c *walk.Cursor, key []byte) error {
		switch string(key) {
		case "input_file_id", "input_files":
			return present(c, &r.Prompt, "file id")
		case "requests": // Mistral
			return c.Array(func() error {
				return c.Object(func(key []byte) error {
					if string(key) != "body" {
						return nil
					}
					return c.Object(func(key []byte) error {
						switch string(key) {
						case "messages":
							return items(c, &r.Prompt)
						case "input", "inputs", "prompt":
							return inputs(c, &r.Prompt)
						}
						return nil
					})
				})
			})
		}
		return nil
	},
	whole: func(r *request) {
		hosted(&r.Prompt, "batch")
		r.Background = true
		r.ServiceTier = "batch"
	},
	dialect: func(*wire.Request) dialect { return &batchReading{} },
}

// pollBatch is the codec of asking for a batch, or ending it.
var pollBatch = &format{
	api: wire.OpenAIBatches, task: tokens.Retrieve, bodyless: true,
	dialect: func(*wire.Request) dialect { return &batchReading{} },
}

// batchReading reads a batch job, or a page of its results (xAI).
type batchReading struct {
	ended bool    // nothing more will be used
	cost  decimal // of results, where each tells its own
	costs bool
}

func (d *batchReading) writes() bool { return false }

func (d *batchReading) document(c *walk.Cursor, key []byte, b *body) error {
	if read, err := b.describes(c, key); read {
		return err
	}
	switch string(key) {
	case "batch_id": // xAI
		return readName(c, &b.reading.ID)
	case "status":
		status, err := c.Text()
		switch string(status) {
		case "completed", "failed", "expired", "cancelled", "COMPLETED", "FAILED", "EXPIRED", "CANCELLED", // Together in capitals
			"SUCCESS", "TIMEOUT_EXCEEDED": // Mistral
			d.ended = true
		}
		return err
	case "usage": // of the whole job: OpenAI
		_, err := b.readUsage(c)
		return err
	case "results": // xAI
		d.ended = true
		return d.sum(c, b)
	case "outputs": // Mistral
		return d.sum(c, b)
	case "pagination_token":
		if c.Kind() == '"' {
			d.ended = false // there are more results
		}
	}
	return nil
}

// sum adds up the usage of all results, however deep in lists and objects it stands.
func (d *batchReading) sum(c *walk.Cursor, b *body) error {
	switch c.Kind() {
	case '[':
		return c.Array(func() error { return d.sum(c, b) })
	case '{':
		return c.Object(func(key []byte) error {
			switch string(key) {
			case "choices", "output", "data", "error": // what the results are, and no usage
				return nil
			case "model":
				return readName(c, &b.reading.Model)
			case "usage":
				return d.add(c, b)
			}
			return d.sum(c, b)
		})
	}
	return nil
}

// add adds the usage of a result to those before it, and its object to theirs.
func (d *batchReading) add(c *walk.Cursor, b *body) error {
	if c.Kind() != '{' {
		return nil
	}
	u, err := readCounts(c)
	if err != nil || !u.told() {
		return err
	}
	if !b.reported {
		b.counts, b.reported, b.raw = noCounts(), true, []byte("[]")
	}
	b.counts.plus(&u)
	if cost, ok := readDecimal([]byte(u.cost)); ok && u.cost != "" {
		if !d.costs {
			d.cost, d.costs = cost, true
		} else {
			d.cost = d.cost.plus(cost)
		}
		b.counts.cost = d.cost.String()
	}
	list := b.raw[:len(b.raw)-1]
	if len(list) > 1 {
		list = append(list, ',')
	}
	b.raw = append(append(list, c.Raw()...), ']')
	return nil
}

func (d *batchReading) event([]byte, *body) eventKind { return plainEvent }

// settle: until the job has ended, what it tells is 0 or a part (measured at OpenAI).
func (d *batchReading) settle(_ *body, out *wire.Reading) {
	out.ServiceTier = "batch"
	if out.Usage != nil {
		out.Partial = out.Partial || !d.ended
	}
}
