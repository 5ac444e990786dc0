package walk

import "testing"

func TestCount(t *testing.T) {
	t.Parallel()
	for body, want := range map[string]int64{
		`0`: 0, `7`: 7, `7.0`: 7, `1125899906842624`: MaxCount, `1125899906842625`: -1, `-1`: -1, `1.5`: -1, `"7"`: -1, `null`: -1, `1e99`: -1,
	} {
		got := int64(-1)
		err := Response([]byte(`{"n":`+body+`}`), func(c *Cursor, _ []byte) error {
			n, ok, err := c.Count()
			if ok {
				got = n
			}
			return err
		})
		if err != nil || got != want {
			t.Errorf("%s: %d, %v; want %d", body, got, err, want)
		}
	}
}
