package main

import (
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"

	"github.com/prometheus/client_golang/prometheus"

	"keel/filter/peers"
)

// transportFlags are how a processor is reached by Envoy, and by whom.
type transportFlags struct {
	TLSCert   string   `name:"tls-cert" help:"File of the certificate that Envoy is shown, PEM; it and the next two are read again when they change." placeholder:"FILE"`
	TLSKey    string   `name:"tls-key" help:"File of its key." placeholder:"FILE"`
	TLSPeerCA string   `name:"tls-peer-ca" help:"File of the authorities that sign the certificates of Envoys." placeholder:"FILE"`
	Peer      []string `help:"Name of an Envoy that may open streams, as its certificate has it: spiffe://… or a DNS name; * for all whom the authorities signed. May be given more than once." sep:"none" placeholder:"NAME"`
	Cleartext bool     `name:"grpc-cleartext" help:"Without TLS, on an address that other machines reach: for a mesh that encrypts and authenticates by itself."`
}

// tls is nil where Envoy is spoken to in the clear, which is for a socket, for loopback, and for who asks for it.
func (f *transportFlags) tls(listener net.Addr, log *slog.Logger, metrics prometheus.Registerer) (*tls.Config, error) {
	given := 0
	for _, file := range []string{f.TLSCert, f.TLSKey, f.TLSPeerCA} {
		if file != "" {
			given++
		}
	}
	if given == 0 {
		if len(f.Peer) > 0 {
			return nil, errors.New("--peer names certificates: it goes with --tls-cert, --tls-key and --tls-peer-ca")
		}
		a, tcp := listener.(*net.TCPAddr)
		if f.Cleartext || !tcp || a.IP.IsLoopback() {
			return nil, nil
		}
		return nil, fmt.Errorf("the gRPC address %s is reached from other machines, and whoever reaches it could act as Envoy, and read and spend: "+
			"give --tls-cert, --tls-key, --tls-peer-ca and --peer; or a socket, --grpc unix:PATH; or, where a mesh encrypts and authenticates, --grpc-cleartext", listener)
	}
	if given < 3 {
		return nil, errors.New("--tls-cert, --tls-key and --tls-peer-ca go together")
	}
	if f.Cleartext {
		return nil, errors.New("--grpc-cleartext goes without --tls-cert")
	}
	gate, err := peers.New(peers.Options{Certificate: f.TLSCert, Key: f.TLSKey, ClientCA: f.TLSPeerCA, Allowed: f.Peer, Logger: log, Metrics: metrics})
	if err != nil {
		return nil, fmt.Errorf("%w (--tls-cert, --tls-key, --tls-peer-ca, --peer)", err)
	}
	return gate.TLS(), nil
}
