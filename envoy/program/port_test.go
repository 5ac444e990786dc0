package program

import (
	"fmt"
	"net"
	"os"
	"strings"
	"testing"
)

func TestPorts(t *testing.T) {
	port, err := FreePort("127.0.0.1")
	if err != nil {
		t.Fatal(err)
	}
	address := fmt.Sprintf("127.0.0.1:%d", port)
	if err := CheckFree(address); err != nil {
		t.Error(err)
	}
	if err := CheckFree("127.0.0.1:0"); err != nil {
		t.Error(err)
	}
	l, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	err = CheckFree(address)
	if err == nil || !strings.Contains(err.Error(), address+" is already in use") {
		t.Fatal(err)
	}
	if _, statErr := os.Stat("/proc/net/tcp"); statErr == nil && !strings.Contains(err.Error(), fmt.Sprintf("(process %d)", os.Getpid())) {
		t.Errorf("%v: does not name this process", err)
	}
	if err := CheckFree("192.0.2.1:80"); err == nil || strings.Contains(err.Error(), "in use") {
		t.Errorf("an address of another machine: %v", err)
	}
}
