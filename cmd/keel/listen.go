package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"keel/envoy"
)

// listen opens an address: host:port, or unix:PATH of a socket, which is made readable
// and writable for the group, as Envoy runs as another user.
func listen(what, flag, addr string) (net.Listener, error) {
	if path, ok := strings.CutPrefix(addr, envoy.UnixScheme); ok {
		l, err := listenUnix(path)
		if err != nil {
			return nil, fmt.Errorf("%s address %s: %w; give another with %s", what, addr, err, flag)
		}
		return l, nil
	}
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("%s address: %w; give another with %s (port 0 takes a free one)", what, err, flag)
	}
	return l, nil
}

// listenUnix takes over the socket of a process that is gone, never that of one that listens.
func listenUnix(path string) (net.Listener, error) {
	path = strings.TrimPrefix(path, "//") // as in unix:///run/keel.sock
	if !filepath.IsAbs(path) {
		return nil, errors.New("want the absolute path of a socket, as in unix:/run/keel/keel.sock")
	}
	if conn, err := net.Dial("unix", path); err == nil {
		conn.Close()
		return nil, errors.New("another process listens there")
	} else if errors.Is(err, syscall.ECONNREFUSED) {
		if err := removeSocket(path); err != nil {
			return nil, err
		}
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(path, 0o660); err != nil {
		l.Close()
		return nil, err
	}
	return l, nil
}

// removeSocket removes a socket and nothing else.
func removeSocket(path string) error {
	info, err := os.Lstat(path)
	if err != nil {
		return err
	}
	if info.Mode().Type() != os.ModeSocket {
		return errors.New("there is a file that is no socket")
	}
	return os.Remove(path)
}

// addressOf is the address by which Envoy is told of a listener.
func addressOf(l net.Listener) string {
	if l.Addr().Network() == "unix" {
		return envoy.UnixScheme + l.Addr().String()
	}
	return l.Addr().String()
}

func closeOnError(err *error, l net.Listener) {
	if *err != nil {
		l.Close()
	}
}
