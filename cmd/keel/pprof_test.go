package main

import (
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
)

func TestProfiles(t *testing.T) {
	for _, tt := range []struct {
		name, path string
		on         bool
		status     int
	}{
		{"off", "/debug/pprof/heap", false, 404},
		{"on", "/debug/pprof/heap", true, 200},
		{"of locks", "/debug/pprof/mutex", true, 200},
		{"the command line may hold a password", "/debug/pprof/cmdline", true, 404},
	} {
		t.Run(tt.name, func(t *testing.T) {
			mux := http.NewServeMux()
			profileFlags{Pprof: tt.on}.register(mux)
			w := httptest.NewRecorder()
			mux.ServeHTTP(w, httptest.NewRequest(http.MethodGet, tt.path, nil))
			if w.Code != tt.status {
				t.Errorf("%s answers %d, want %d", tt.path, w.Code, tt.status)
			}
		})
	}
	for _, tt := range []struct {
		address string
		on, ok  bool
	}{{"127.0.0.1", true, true}, {"::1", true, true}, {"0.0.0.0", true, false}, {"10.0.0.1", true, false}, {"0.0.0.0", false, true}} {
		if err := (profileFlags{Pprof: tt.on}).check(&net.TCPAddr{IP: net.ParseIP(tt.address)}); (err == nil) != tt.ok {
			t.Errorf("%s, on %v: %v", tt.address, tt.on, err)
		}
	}
}
