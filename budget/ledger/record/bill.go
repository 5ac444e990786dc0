package record

import (
	"keel/budget"
	"keel/pricing"
	"keel/pricing/meter"
)

// The fewest bytes that a bill takes, and a part of one; a test has them.
const (
	minBill = 11
	minPart = 2
)

func appendBill(b []byte, v *budget.Bill) []byte {
	b = appendText(b, v.Provider)
	b = appendText(b, v.Model)
	b = appendText(b, v.Sent)
	b = appendTime(b, v.At)
	b = appendText(b, v.ServiceTier)
	b = appendText(b, v.Speed)
	b = appendText(b, v.Region)
	b = appendText(b, v.SearchContext)
	b = appendUsage(b, &v.Usage)
	b = appendCount(b, len(v.Parts))
	for i := range v.Parts {
		b = appendUsage(appendText(b, v.Parts[i].Model), &v.Parts[i].Usage)
	}
	return appendInt(b, int64(v.Cost))
}

func readBill(r *reader, v *budget.Bill) {
	v.Provider = r.text("provider")
	v.Model = r.text("model")
	v.Sent = r.text("sent")
	v.At = r.time("at")
	v.ServiceTier = r.text("service tier")
	v.Speed = r.text("speed")
	v.Region = r.text("region")
	v.SearchContext = r.text("search context")
	readUsage(r, &v.Usage)
	v.Parts = list(r, nil, "bills.parts", minPart, readPart)
	v.Cost = pricing.NanoUSD(r.int64("cost"))
}

func readPart(r *reader, v *meter.Part) {
	v.Model = r.text("model")
	readUsage(r, &v.Usage)
}
