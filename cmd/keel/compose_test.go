package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/alecthomas/kong"
	"github.com/goccy/go-yaml"
)

// service is what these tests look at of one in docker-compose.yaml.
type service struct {
	Image       string
	Build       string
	Command     []string
	User        string
	ReadOnly    bool     `yaml:"read_only"`
	CapDrop     []string `yaml:"cap_drop"`
	SecurityOpt []string `yaml:"security_opt"`
	Privileged  bool
	Ports       []string
	Networks    []string
	NetworkMode string `yaml:"network_mode"`
	Secrets     []string
	Volumes     []string
	DependsOn   any `yaml:"depends_on"`
}

type composition struct {
	Services map[string]service
	Networks map[string]any
	Volumes  map[string]any
	Secrets  map[string]struct{ File string }
}

func readComposition(t *testing.T) composition {
	t.Helper()
	text, err := os.ReadFile("../../docker-compose.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var c composition
	if err := yaml.Unmarshal(text, &c); err != nil {
		t.Fatal(err)
	}
	if len(c.Services) < 6 {
		t.Fatalf("%d services", len(c.Services))
	}
	return c
}

// pinned is an image whose content is fixed: by digest, or by a full version.
var pinned = regexp.MustCompile(`@sha256:[0-9a-f]{64}$|:[a-z-]*v?\d+\.\d+(\.\d+)?(-[a-z0-9.]+)?$`)

// unpublished are ports by which whoever reaches them reads or stops something: Keel's and Envoy's admin interfaces, the
// processor, and Postgres.
var unpublished = []string{"10001", "9901", "10002", "5432"}

func TestComposeRules(t *testing.T) {
	c := readComposition(t)
	for name, s := range c.Services {
		if s.Build == "" && !pinned.MatchString(s.Image) {
			t.Errorf("%s: image %q is pinned by neither a digest nor a version", name, s.Image)
		}
		if !s.ReadOnly || s.Privileged || !slices.Contains(s.CapDrop, "ALL") || !slices.Contains(s.SecurityOpt, "no-new-privileges:true") {
			t.Errorf("%s: want read_only, cap_drop: [ALL] and no-new-privileges:true", name)
		}
		if !regexp.MustCompile(`^[1-9]\d*:[1-9]\d*$`).MatchString(s.User) {
			t.Errorf("%s: user %q: want UID:GID, neither of them root", name, s.User)
		}
		if s.NetworkMode != "" && s.NetworkMode != "none" {
			t.Errorf("%s: network_mode %s is out of its networks", name, s.NetworkMode)
		}
		for _, p := range s.Ports {
			inner, ok := strings.CutPrefix(p, "127.0.0.1:")
			if !ok {
				t.Errorf("%s: port %q is reached from other machines", name, p)
			}
			if _, port, _ := strings.Cut(inner, ":"); slices.Contains(unpublished, port) {
				t.Errorf("%s: port %s is published", name, port)
			}
		}
		for _, n := range s.Networks {
			if _, ok := c.Networks[n]; !ok {
				t.Errorf("%s: no network %s", name, n)
			}
		}
		for _, secret := range s.Secrets {
			if c.Secrets[secret].File == "" {
				t.Errorf("%s: no file for secret %s", name, secret)
			}
		}
		for _, v := range s.Volumes {
			source, _, _ := strings.Cut(v, ":")
			if strings.HasPrefix(source, ".") {
				if _, err := os.Stat(filepath.Join("../..", source)); err != nil || !strings.HasSuffix(v, ":ro") {
					t.Errorf("%s: volume %s: want a file that is there, mounted :ro (%v)", name, v, err)
				}
			} else if _, ok := c.Volumes[source]; !ok {
				t.Errorf("%s: no volume %s", name, source)
			}
		}
		for _, other := range names(s.DependsOn) {
			if _, ok := c.Services[other]; !ok {
				t.Errorf("%s depends on %s, which is not there", name, other)
			}
		}
	}
}

// names are those of a list, or of the keys of a map.
func names(list any) (all []string) {
	switch list := list.(type) {
	case []any:
		for _, name := range list {
			all = append(all, name.(string))
		}
	case map[string]any:
		for name := range list {
			all = append(all, name)
		}
	}
	return all
}

// What the containers are told, their programs understand, and they find each other where they are.
func TestComposeFits(t *testing.T) {
	c := readComposition(t)
	keel := 0
	for name, s := range c.Services {
		if s.Image == "keel:local" {
			keel++
			parseLine(t, name, s.Command)
		}
	}
	if keel != 5 {
		t.Errorf("%d containers of keel", keel)
	}
	// Each has the login of the database that it needs, and the password of no other.
	for name, login := range map[string]string{"keel": "serve", "migrate": "owner", "documents": "edit"} {
		s := c.Services[name]
		if dsn := databaseIn(s.Command); !strings.HasPrefix(dsn, "postgres://keel_"+login+"@postgres:5432/keel?") || !strings.HasSuffix(dsn, "passfile=/run/secrets/"+login+".pgpass") || !slices.Equal(s.Secrets, []string{login + ".pgpass"}) {
			t.Errorf("%s: want the login keel_%s, and its secret alone: %s, %v", name, login, dsn, s.Secrets)
		}
	}
	// Postgres makes them, by the passwords that the Makefile makes.
	postgres := c.Services["postgres"]
	if !slices.Contains(postgres.Volumes, "./envoy/logins.sql:/docker-entrypoint-initdb.d/logins.sql:ro") {
		t.Error("postgres does not run envoy/logins.sql")
	}
	sql, err := os.ReadFile("../../envoy/logins.sql")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range regexp.MustCompile(`:'passwords'/(\S+\.pgpass)`).FindAllSubmatch(sql, -1) {
		if name := string(file[1]); !slices.Contains(postgres.Secrets, name) || c.Secrets[name].File != ".keel/compose/"+name {
			t.Errorf("postgres lacks the secret %s", name)
		}
	}
	serve := parseLine(t, "keel", c.Services["keel"].Command).Serve
	if len(serve.Config) > 0 {
		t.Error("keel changes documents, which is the editor's")
	}
	if made := parseLine(t, "audit-key", c.Services["audit-key"].Command).Audit.Keys.New; made.File != serve.AuditKey || !made.Keep {
		t.Errorf("the key that signs is %s, and %+v is made", serve.AuditKey, made)
	}

	// Envoy's configuration is what keel envoy config writes for the addresses of the others.
	args := []string{"envoy", "config", "--target", "envoy", "--grpc", serve.GRPC}
	_, port, _ := strings.Cut(parseLine(t, "sample", c.Services["sample"].Command).Sample.Listen, ":")
	for _, p := range []string{"openai", "anthropic", "google"} {
		args = append(args, "--provider", p+"=http://sample:"+port)
	}
	var out, said bytes.Buffer
	m := Main{Stdout: &out, Stderr: &said, Getenv: os.Getenv}
	if code := m.Run(t.Context(), args); code != exitOK {
		t.Fatalf("%s", &said)
	}
	const file = "../../envoy/compose/envoy.yaml"
	if *update {
		if err := os.WriteFile(file, out.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if text, err := os.ReadFile(file); err != nil || !bytes.Equal(text, out.Bytes()) {
		t.Errorf("%s is not what keel envoy config writes (%v): go test ./cmd/keel -run ComposeFits -update", file, err)
	}
	if !slices.ContainsFunc(c.Services["envoy"].Volumes, func(v string) bool { return strings.HasPrefix(v, "./envoy/compose/envoy.yaml:") }) {
		t.Error("envoy does not mount it")
	}
	socket, _, _ := strings.Cut(strings.TrimPrefix(serve.GRPC, "unix:"), "/keel.sock")
	for _, name := range []string{"envoy", "keel"} {
		if !slices.Contains(c.Services[name].Volumes, "socket:"+socket) {
			t.Errorf("%s has no volume with the socket in %s", name, socket)
		}
	}

	// Prometheus scrapes the admin port, by the rules that keel alerts rules prints.
	text, err := os.ReadFile("../../envoy/compose/prometheus.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var prometheus struct {
		RuleFiles     []string `yaml:"rule_files"`
		ScrapeConfigs []struct {
			StaticConfigs []struct{ Targets []string } `yaml:"static_configs"`
		} `yaml:"scrape_configs"`
	}
	if err := yaml.Unmarshal(text, &prometheus); err != nil {
		t.Fatal(err)
	}
	_, port, _ = strings.Cut(serve.Admin, ":")
	if got := prometheus.ScrapeConfigs[0].StaticConfigs[0].Targets; !slices.Equal(got, []string{"keel:" + port}) {
		t.Errorf("Prometheus scrapes %v, and the admin port is %s", got, port)
	}
	for _, v := range c.Services["prometheus"].Volumes {
		source, target, _ := strings.Cut(strings.TrimSuffix(v, ":ro"), ":")
		if !slices.Contains(prometheus.RuleFiles, target) {
			continue
		}
		out.Reset()
		m.Run(t.Context(), []string{"alerts", "rules"})
		if text, err := os.ReadFile(filepath.Join("../..", source)); err != nil || !bytes.Equal(text, out.Bytes()) {
			t.Errorf("%s are not the rules of keel alerts rules (%v)", source, err)
		}
		return
	}
	t.Error("Prometheus has no alert rules")
}

// parseLine reads a command line as the program does.
func parseLine(t *testing.T, where string, args []string) *commands {
	t.Helper()
	var cli commands
	parser, err := kong.New(&cli, kong.Name("keel"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := parser.Parse(args); err != nil {
		t.Fatalf("%s: keel %s: %v", where, strings.Join(args, " "), err)
	}
	return &cli
}

// The reader of compose files has the last word, where there is one.
func TestComposeConfig(t *testing.T) {
	if out, err := exec.Command("docker", "compose", "version").CombinedOutput(); err != nil {
		t.Skipf("no docker compose: %v: %s", err, out)
	}
	command := exec.Command("docker", "compose", "--file", "docker-compose.yaml", "config", "--quiet")
	command.Dir = "../.."
	if out, err := command.CombinedOutput(); err != nil {
		t.Errorf("docker compose config: %v\n%s", err, out)
	}
}

// The image is from nothing, for nobody, by a compiler that go.mod takes.
func TestDockerfile(t *testing.T) {
	text, err := os.ReadFile("../../Dockerfile")
	if err != nil {
		t.Fatal(err)
	}
	from := regexp.MustCompile(`(?m)^FROM (\S+)`).FindAllStringSubmatch(string(text), -1)
	if len(from) != 2 || from[1][1] != "scratch" {
		t.Fatalf("stages %v: want one that builds and one from scratch", from)
	}
	if !pinned.MatchString(from[0][1]) {
		t.Errorf("%s is not pinned", from[0][1])
	}
	mod, err := os.ReadFile("../../go.mod")
	if err != nil {
		t.Fatal(err)
	}
	needs := regexp.MustCompile(`(?m)^go (\d+\.\d+)`).FindSubmatch(mod)
	if !strings.HasPrefix(from[0][1], "golang:"+string(needs[1])+".") {
		t.Errorf("%s builds, and go.mod says %s", from[0][1], needs[0])
	}
	last := string(text[strings.LastIndex(string(text), "FROM scratch"):])
	for _, want := range []string{`(?m)^USER [1-9]\d*:[1-9]\d*$`, `(?m)^ENTRYPOINT \["/usr/local/bin/keel"\]$`, `ca-certificates\.crt`} {
		if !regexp.MustCompile(want).MatchString(last) {
			t.Errorf("the image lacks %s", want)
		}
	}
}
