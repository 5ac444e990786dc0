package envoy

import (
	"bytes"
	"context"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"keel/envoy/program"
)

var update = flag.Bool("update", false, "write the golden files of testdata")

// goldens are the configurations of testdata, all by JSON and the first by YAML.
func goldens() map[string]Config {
	return map[string]Config{
		"providers": {
			Listen: "127.0.0.1:10000", Admin: "127.0.0.1:9901", Processor: "127.0.0.1:10002", Providers: DefaultProviders(),
			CAFile: "/etc/ssl/certs/ca-certificates.crt",
		},
		"overridden": {
			Listen: "0.0.0.0:10000", Processor: "keel.internal:10002", RequestLimit: 1 << 20, IdleTimeout: 10 * time.Minute,
			Retry: &Retry{On: []string{"5xx"}, Statuses: []uint32{429}, Times: 2},
			Providers: []Provider{
				{Name: "openai", Host: "api.openai.com", Address: "http://127.0.0.1:9000"},
				{Name: "anthropic", Host: "api.anthropic.com", Address: "https://llm.corp.example"},
				{Name: "google", Host: "generativelanguage.googleapis.com", Address: "https://[::1]:8443"},
				{Name: "local", Host: "llama.internal:8080", Address: "http://llama.internal:8080"},
			},
			CAFile: "/etc/ssl/certs/ca-certificates.crt",
		},
		"no_retries": {Processor: "[::1]:10002", Retry: &Retry{}, Providers: DefaultProviders()[:1], CAFile: "/etc/ssl/certs/ca-certificates.crt"},
	}
}

func TestGoldens(t *testing.T) {
	for name, c := range goldens() {
		t.Run(name, func(t *testing.T) {
			b, err := Bootstrap(c)
			if err != nil {
				t.Fatal(err)
			}
			text, err := JSON(b)
			if err != nil {
				t.Fatal(err)
			}
			file := filepath.Join("testdata", name+".json")
			if *update {
				if err := os.WriteFile(file, text, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), string(text)); diff != "" {
				t.Errorf("%s differs (-want +got); if that is meant, run go test -update:\n%s", file, diff)
			}
		})
	}
}

// TestEnvoyAcceptsGoldens asks the real Envoy, which also warns of fields that it will drop.
func TestEnvoyAcceptsGoldens(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute) // the first one downloads
	defer cancel()
	user := program.Unprivileged()
	path, err := install(ctx, "", os.Stderr, user)
	if err != nil {
		t.Fatal(err)
	}
	ca, err := filepath.Abs("testdata/ca.pem")
	if err != nil {
		t.Fatal(err)
	}
	configs := map[string][]byte{}
	for name, c := range goldens() {
		b, err := Bootstrap(c)
		if err != nil {
			t.Fatal(err)
		}
		if configs[name+".json"], err = JSON(b); err != nil {
			t.Fatal(err)
		}
		if configs[name+".yaml"], err = YAML(b); err != nil {
			t.Fatal(err)
		}
	}
	for name, a := range attachments() {
		if a.Target != TargetEnvoy {
			continue
		}
		if a.Secret != "" {
			continue // no bootstrap; e2e.TestTLS has Envoy read these
		}
		if configs[name+".yaml"], err = Render(a); err != nil {
			t.Fatal(err)
		}
	}
	for name, text := range configs {
		t.Run(name, func(t *testing.T) {
			dir, err := program.Home(filepath.Join(t.TempDir(), "envoy"), user)
			if err != nil {
				t.Fatal(err)
			}
			defer os.RemoveAll(dir)
			// Not every machine has the certificates of the golden files.
			readable, err := readableCA(ca, dir, user)
			if err != nil {
				t.Fatal(err)
			}
			text = bytes.ReplaceAll(text, []byte("/etc/ssl/certs/ca-certificates.crt"), []byte(readable))
			text = bytes.ReplaceAll(text, []byte("/etc/envoy/keel"), []byte(dir))
			for _, secret := range SecretFiles {
				if err := writeReadable(filepath.Join(dir, secret+".yaml"), []byte("resources: []\n")); err != nil {
					t.Fatal(err)
				}
			}
			file := filepath.Join(dir, name)
			if err := writeReadable(file, text); err != nil {
				t.Fatal(err)
			}
			command := program.Command{Path: path, User: user, Dir: dir, Log: filepath.Join(dir, "envoy.log"), Args: []string{"--config-path", file, "--disable-hot-restart"}}
			if err := validate(ctx, command); err != nil {
				t.Error(err)
			}
			if said := program.Tail(filepath.Join(dir, "validate.log"), 0, 50); strings.Contains(strings.ToLower(said), "deprecated") {
				t.Errorf("Envoy will drop something of this:\n%s", said)
			}
		})
	}
}

func TestBootstrapRefuses(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*Config)
		want   string
	}{
		"no processor":        {func(c *Config) { c.Processor = "" }, "processor address"},
		"processor at port 0": {func(c *Config) { c.Processor = "127.0.0.1:0" }, "a port is needed"},
		"listen by name":      {func(c *Config) { c.Listen = "localhost:1" }, "not on a name"},
		"listen without port": {func(c *Config) { c.Listen = "127.0.0.1" }, "host:port"},
		"port too big":        {func(c *Config) { c.Listen = "127.0.0.1:65536" }, "from 0 to 65535"},
		"open admin":          {func(c *Config) { c.Admin = "0.0.0.0:9901" }, "loopback"},
		"admin on any host":   {func(c *Config) { c.Admin = ":9901" }, "loopback"},
		"no providers":        {func(c *Config) { c.Providers = nil }, "no providers"},
		"provider twice":      {func(c *Config) { c.Providers = append(c.Providers, c.Providers[0]) }, "named twice"},
		"name with a slash":   {func(c *Config) { c.Providers[0].Name = "a/b" }, `provider name "a/b"`},
		"name of our own":     {func(c *Config) { c.Providers[0].Name = "keel_processor" }, "Keel's own"},
		"no host":             {func(c *Config) { c.Providers[0].Host = "" }, "is not a host name"},
		"host is a URL":       {func(c *Config) { c.Providers[0].Host = "https://api.openai.com" }, "is not a host name"},
		"host with newline":   {func(c *Config) { c.Providers[0].Host = "a\r\nb" }, "is not a host name"},
		"address with path":   {func(c *Config) { c.Providers[0].Address = "https://proxy/openai" }, "keep the path"},
		"address with user":   {func(c *Config) { c.Providers[0].Address = "https://u:p@proxy" }, "only scheme, host and port"},
		"address, no scheme":  {func(c *Config) { c.Providers[0].Address = "127.0.0.1:9000" }, "want http://HOST:PORT"},
		"address, ftp":        {func(c *Config) { c.Providers[0].Address = "ftp://x" }, "want http://HOST:PORT"},
		"address, port 0":     {func(c *Config) { c.Providers[0].Address = "http://x:0" }, "a port is needed"},
		"negative idle time":  {func(c *Config) { c.IdleTimeout = -1 }, "negative"},
	} {
		t.Run(name, func(t *testing.T) {
			config := Config{Processor: "127.0.0.1:10002", Providers: []Provider{{Name: "openai", Host: "api.openai.com"}}}
			if _, err := Bootstrap(config); err != nil {
				t.Fatal(err)
			}
			c.change(&config)
			_, err := Bootstrap(config)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v does not say %q", err, c.want)
			}
		})
	}
}

// FuzzProvider: whatever a user writes is refused or gives what Envoy's own rules allow.
func FuzzProvider(f *testing.F) {
	f.Add("openai", "api.openai.com", "")
	f.Add("openai", "api.openai.com:8443", "http://127.0.0.1:9000")
	f.Add("x", "h", "https://[::1]:1/")
	f.Add("x", "h", "https://[fe80::1%25eth0]:1/")
	f.Add("\xff", "\x00", "http://a b")
	f.Fuzz(func(t *testing.T, name, host, address string) {
		b, err := Bootstrap(Config{Processor: "127.0.0.1:1", Providers: []Provider{{Name: name, Host: host, Address: address}}})
		if err != nil {
			if strings.Contains(err.Error(), "Envoy would refuse") || strings.Contains(err.Error(), "invalid") && !strings.Contains(err.Error(), "provider") {
				t.Errorf("not found before Envoy's own check: %v", err)
			}
			return
		}
		if _, err := JSON(b); err != nil {
			t.Error(err)
		}
	})
}
