package frame

import (
	"sync"

	accesslogv3 "github.com/envoyproxy/go-control-plane/envoy/service/accesslog/v3"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
)

// Envoy tells of a call all that it knows, and has no setting for less. Most of it, addresses, durations and what
// the request said of its client, is dropped here, before a message is made of it.

// kept are the fields of a message that are read, by number: nil ones are dropped, those of whole are taken as they are.
type kept []*kept

var whole = &kept{}

func keep(fields map[protowire.Number]*kept) *kept {
	var highest protowire.Number
	for n := range fields {
		highest = max(highest, n)
	}
	k := make(kept, highest+1)
	for n, of := range fields {
		k[n] = of
	}
	return &k
}

// keptOfLogs are the fields of a StreamAccessLogsMessage that package filter reads.
var keptOfLogs = keep(map[protowire.Number]*kept{
	1: whole, 3: whole, // identifier, tcp_logs
	2: keep(map[protowire.Number]*kept{1: keep(map[protowire.Number]*kept{ // http_logs.log_entry
		1: keep(map[protowire.Number]*kept{ // common_properties
			5: whole, 7: whole, 9: whole, // start_time, time_to_first_upstream_tx_byte, time_to_first_upstream_rx_byte
			13: whole, 16: whole, 17: whole, // upstream_remote_address, response_flags, metadata
			21: whole, 24: whole, // filter_state_objects, upstream_request_attempt_count
			26: whole, 33: whole, // stream_id, access_log_type
		}),
		3: keep(map[protowire.Number]*kept{1: whole, 3: whole, 5: whole, 9: whole, 13: whole}), // request: method, authority, path, request_id, headers
		4: keep(map[protowire.Number]*kept{1: whole, 3: whole, 4: whole, 6: whole}),            // response: code, body_bytes, headers, code_details
	})}),
})

// append adds to what is kept of data. It returns false where data is malformed.
func (k *kept) append(to, data []byte) ([]byte, bool) {
	for len(data) > 0 {
		number, kind, n := protowire.ConsumeTag(data)
		if n < 0 {
			return to, false
		}
		size := protowire.ConsumeFieldValue(number, kind, data[n:])
		if size < 0 {
			return to, false
		}
		field := data[:n+size]
		data = data[n+size:]
		if int(number) >= len(*k) || (*k)[number] == nil {
			continue
		}
		of := (*k)[number]
		if of == whole || kind != protowire.BytesType {
			to = append(to, field...)
			continue
		}
		value, _ := protowire.ConsumeBytes(field[n:])
		to = append(to, field[:n]...)
		at := len(to)
		to = append(to, make([]byte, lengthBytes)...)
		var ok bool
		if to, ok = of.append(to, value); !ok {
			return to, false
		}
		putLength(to[at:], len(to)-at-lengthBytes)
	}
	return to, true
}

// lengthBytes is what a length takes that is not known before: a varint may have more bytes than it needs.
const lengthBytes = 5

func putLength(to []byte, n int) {
	n64 := uint64(n)
	for i := range lengthBytes - 1 {
		to[i] = byte(n64>>(7*i)) | 0x80
	}
	to[lengthBytes-1] = byte(n64 >> (7 * (lengthBytes - 1)))
}

var logBuffers = sync.Pool{New: func() any { return new([]byte) }}

// keptLogBytes is up to where a buffer is used again.
const keptLogBytes = 1 << 20

// readLogs reads what is kept of data into m. It returns false where the generic codec has to read it.
func readLogs(data mem.BufferSlice, m *accesslogv3.StreamAccessLogsMessage) bool {
	if data.Len() > maxLength {
		return false
	}
	all := data.MaterializeToBuffer(mem.DefaultBufferPool())
	defer all.Free()
	buffer := logBuffers.Get().(*[]byte)
	defer func() {
		if cap(*buffer) <= keptLogBytes {
			logBuffers.Put(buffer)
		}
	}()
	var ok bool
	if *buffer, ok = keptOfLogs.append((*buffer)[:0], all.ReadOnlyData()); !ok {
		return false
	}
	if err := proto.Unmarshal(*buffer, m); err != nil {
		proto.Reset(m)
		return false
	}
	return true
}

// maxLength fits into lengthBytes.
const maxLength = 1<<31 - 1
