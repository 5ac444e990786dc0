package envoy

import "os"

// caFiles are where systems keep the certificates that they trust; the same
// places in the same order as Go's crypto/x509.
var caFiles = []string{
	"/etc/ssl/certs/ca-certificates.crt", // Debian, Ubuntu, Alpine, Arch
	"/etc/pki/tls/certs/ca-bundle.crt",   // Fedora, RHEL
	"/etc/ssl/ca-bundle.pem",             // openSUSE
	"/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
	"/etc/ssl/cert.pem", // macOS, the BSDs
}

// caFile is the file of trusted certificates: Config.CAFile, else
// $SSL_CERT_FILE, else the first of the usual places that exists.
func (c Config) caFile() string {
	if c.CAFile != "" {
		return c.CAFile
	}
	if file := os.Getenv("SSL_CERT_FILE"); file != "" {
		return file
	}
	for _, file := range caFiles {
		if _, err := os.Stat(file); err == nil {
			return file
		}
	}
	return caFiles[0] // Envoy's message names it
}
