// Package peerstest makes authorities and certificates for tests. Nothing else may use it: keys are in files that anybody on
// the machine can read.
package peerstest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// TB is what tests have.
type TB interface {
	Helper()
	Fatal(args ...any)
}

// CA is an authority.
type CA struct {
	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
	PEM         []byte
}

// NewCA makes one.
func NewCA(tb TB, name string) *CA {
	tb.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		tb.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: serial(tb), Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		tb.Fatal(err)
	}
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		tb.Fatal(err)
	}
	return &CA{certificate, key, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})}
}

func serial(tb TB) *big.Int {
	n, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		tb.Fatal(err)
	}
	return n
}

// Lifetime of a certificate, from now; below zero it has expired.
type Lifetime time.Duration

// Sign makes a certificate with names (IP addresses, URIs, DNS names) for both ends of a connection, and its key, in PEM.
func (c *CA) Sign(tb TB, life Lifetime, names ...string) (certificate, key []byte) {
	tb.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		tb.Fatal(err)
	}
	end := time.Now().Add(time.Duration(life))
	template := &x509.Certificate{
		SerialNumber: serial(tb), NotBefore: end.Add(-48 * time.Hour), NotAfter: end,
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
	}
	for _, name := range names {
		if ip := net.ParseIP(name); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else if strings.Contains(name, "://") {
			u, err := url.Parse(name)
			if err != nil {
				tb.Fatal(err)
			}
			template.URIs = append(template.URIs, u)
		} else {
			template.DNSNames = append(template.DNSNames, name)
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, c.certificate, &private.PublicKey, c.key)
	if err != nil {
		tb.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		tb.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER})
}

// Write puts tls.crt and tls.key of the names, and ca.crt of the authority to trust, into a folder, in place of what is there: each file
// appears whole.
func (c *CA) Write(tb TB, dir string, trust []byte, names ...string) {
	tb.Helper()
	certificate, key := c.Sign(tb, Lifetime(time.Hour), names...)
	// The key comes first: with the old certificate it makes no pair, and the certificate, which comes last, is what is waited for.
	for _, f := range []struct {
		name string
		text []byte
	}{{"ca.crt", trust}, {"tls.key", key}, {"tls.crt", certificate}} {
		name := filepath.Join(dir, f.name)
		if err := os.WriteFile(name+".new", f.text, 0o644); err != nil {
			tb.Fatal(err)
		}
		if err := os.Rename(name+".new", name); err != nil {
			tb.Fatal(err)
		}
	}
}
