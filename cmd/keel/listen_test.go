package main

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A socket of a process that is gone is taken over; one that is listened on is not.
func TestListenUnix(t *testing.T) {
	path := filepath.Join(t.TempDir(), "keel.sock")
	l, err := listen("gRPC", "--grpc", "unix:"+path)
	if err != nil {
		t.Fatal(err)
	}
	if got := addressOf(l); got != "unix:"+path {
		t.Errorf("address %s", got)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o660 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	if _, err := listen("gRPC", "--grpc", "unix://"+path); err == nil || !strings.Contains(err.Error(), "another process listens there") {
		t.Errorf("taken: %v", err)
	}
	l.(*net.UnixListener).SetUnlinkOnClose(false) // as a killed process leaves it
	l.Close()
	again, err := listen("gRPC", "--grpc", "unix:"+path)
	if err != nil {
		t.Fatal(err)
	}
	again.Close()
}
