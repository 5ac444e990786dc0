package pages

import (
	"html/template"
	"time"
)

// functions are what templates call.
var functions = template.FuncMap{
	"time":    func(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05") },
	"minute":  func(t time.Time) string { return t.UTC().Format("2006-01-02 15:04") },
	"date":    func(t time.Time) string { return t.UTC().Format(time.DateOnly) },
	"stamp":   func(t time.Time) string { return t.UTC().Format(time.RFC3339) },
	"grouped": grouped,
	"link":    link,
	"sub":     func(a, b int64) int64 { return a - b },
}

// link is the address of a page of an org, with more parameters in pairs.
func link(org, page string, pairs ...string) string {
	return (&request{org: org}).address(page, pairs...)
}
