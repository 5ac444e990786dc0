package anthropic

import (
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"keel/filter/wire/wiretest"
	"keel/pricing/meter"
)

func TestBatchJob(t *testing.T) {
	t.Parallel()
	got := feed(t, batches, `{"id":"msgbatch_1","type":"message_batch","processing_status":"in_progress","created_at":"1970-01-01T00:01:00.5+00:00","results_url":null}`, 0, true)
	if got.ID != "msgbatch_1" || got.Created != 60 || got.Usage != nil || !got.Terminal {
		t.Errorf("%+v", got)
	}
}

func TestBatchResults(t *testing.T) {
	t.Parallel()
	const (
		one    = `{"custom_id":"a","result":{"type":"succeeded","message":{"id":"msg_1","model":"m","content":[{"type":"text","text":"abc"}],"usage":{"input_tokens":10,"output_tokens":5,"service_tier":"batch"}}}}` + "\n"
		failed = `{"custom_id":"b","result":{"type":"errored","error":{"type":"error","error":{"type":"invalid_request_error","message":"no"}}}}` + "\n" + `{"custom_id":"c","result":{"type":"expired"}}` + "\n"
		two    = `{"result":{"message":{"usage":{"output_tokens":50,"input_tokens":100,"cache_read_input_tokens":7},"model":"m"},"type":"succeeded"},"custom_id":"d"}` + "\n"
		other  = `{"result":{"type":"succeeded","message":{"model":"n","usage":{"input_tokens":3,"output_tokens":2,"iterations":[{"type":"message","input_tokens":3,"output_tokens":2},{"type":"advisor_message","model":"dear","input_tokens":30,"output_tokens":20}]}}}}` + "\n"
	)
	in := func(input, cached, output int64) meter.Usage {
		return *usage(map[meter.Kind]int64{meter.Input: input, meter.CachedInput: cached, meter.Output: output})
	}
	total := func(u meter.Usage) *meter.Usage { return &u }
	codec, _ := Match("anthropic", "GET", batchPath+"/msgbatch_1/results")
	r, err := codec.ReadRequest(batchPath+"/msgbatch_1/results", nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, body string
		usage      *meter.Usage
		raw        string
		parts      []meter.Part
	}{
		{"one", one, total(in(10, 0, 5)), `{"input_tokens":10,"output_tokens":5,"service_tier":"batch"}`, nil},
		{"nothing succeeded", failed, nil, "", nil},
		{"some", one + failed + two, total(in(110, 7, 55)), `{"input_tokens":110,"cache_creation_input_tokens":0,"cache_read_input_tokens":7,"cache_creation":{"ephemeral_5m_input_tokens":0,"ephemeral_1h_input_tokens":0},"output_tokens":55,"server_tool_use":{"web_search_requests":0},"service_tier":"batch"}`, nil},
		{"models", one + other + two, total(in(113, 7, 57)), "", []meter.Part{{Model: "m", Usage: in(110, 7, 55)}, {Model: "n", Usage: in(3, 0, 2)}, {Model: "dear", Usage: in(30, 0, 20)}}},
	} {
		response := wiretest.Response{Status: 200, Body: []byte(c.body)}
		for seed := range uint64(5) {
			got := wiretest.Read(t, codec, r, response, seed)
			if diff := cmp.Diff(c.usage, got.Usage); diff != "" {
				t.Errorf("%s: %s", c.name, diff)
			}
			if diff := cmp.Diff(c.parts, got.Parts); diff != "" {
				t.Errorf("%s: %s", c.name, diff)
			}
			if got.ID != "msgbatch_1" || !got.Terminal || got.Partial || got.Failure != "" || c.raw != "" && string(got.RawUsage) != c.raw || c.usage != nil && (got.ServiceTier != "batch" || got.Model != "m") {
				t.Errorf("%s: %+v, raw %s", c.name, got, got.RawUsage)
			}
		}
	}
	// Each result is priced by its own size.
	large := strings.ReplaceAll(one, `"input_tokens":10`, `"input_tokens":99995`)
	sizes := wiretest.Read(t, codec, r, wiretest.Response{Status: 200, Body: []byte(large + one + two + large)}, 0)
	want := []meter.Part{{Model: "m", Usage: in(99995, 0, 5)}, {Model: "m", Usage: in(110, 7, 55)}, {Model: "m", Usage: in(99995, 0, 5)}}
	if diff := cmp.Diff(want, sizes.Parts); diff != "" || *sizes.Usage != in(2*99995+110, 7, 65) {
		t.Errorf("%s, usage %v", diff, *sizes.Usage)
	}
	open := wiretest.Read(t, codec, r, wiretest.Response{Status: 200, Body: []byte(one), Open: true}, 0)
	if open.Terminal || !open.Partial || open.Usage == nil {
		t.Errorf("more lines can come: %+v", open)
	}
	cut := wiretest.Read(t, codec, r, wiretest.Response{Status: 200, Body: []byte(one + two[:len(two)-9])}, 0)
	if cut.Terminal || !cut.Partial || cut.Usage == nil || *cut.Usage != in(10, 0, 5) {
		t.Errorf("cut in a line: %+v", cut)
	}
	reader := codec.NewReader(r, 200, http.Header{})
	reader.Feed([]byte(one+other), false)
	before := reader.Reading()
	reader.Feed([]byte(two), true)
	if before.Parts[0].Usage != in(10, 0, 5) || *before.Usage != in(13, 0, 7) {
		t.Errorf("a reading changed with what came later: %+v", before)
	}
}
