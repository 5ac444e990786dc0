//go:build linux

package e2e

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
	"github.com/jackc/pgx/v5"

	"keel/budget/ledger/pgserver"
	"keel/filter/peers/peerstest"
)

// imageUser is the user of the image, who owns nothing but its volumes.
const imageUser = 65532

// pack is what one of the packages runs of the image: what ends before it serves, what serves, and what runs beside it.
type pack struct {
	before [][]string
	serve  packedContainer
	after  [][]string
}

type packedContainer struct {
	Image          string
	Args           []string
	StartupProbe   *probe `yaml:"startupProbe"`
	ReadinessProbe *probe `yaml:"readinessProbe"`
	LivenessProbe  *probe `yaml:"livenessProbe"`
}

type probe struct {
	HTTPGet *struct{ Path string } `yaml:"httpGet"`
}

type podTemplate struct {
	Spec struct {
		InitContainers []packedContainer `yaml:"initContainers"`
		Containers     []packedContainer
	}
}

// packages are the manifests, each with those of the ledger, and docker-compose.yaml.
func packages(t *testing.T) map[string]pack {
	t.Helper()
	ledger := containersOf(t, "ledger")
	if len(ledger) != 3 || ledger[0].Args[0] != "migrate" {
		t.Fatalf("ledger.yaml runs %v", ledger)
	}
	all := map[string]pack{}
	for _, name := range []string{"gateway", "sidecar"} {
		serve := containersOf(t, name)
		if len(serve) != 1 || serve[0].Args[0] != "serve" {
			t.Fatalf("%s.yaml runs %v", name, serve)
		}
		all[name] = pack{before: [][]string{ledger[0].Args}, serve: serve[0], after: [][]string{ledger[1].Args, ledger[2].Args}}
	}
	text, err := os.ReadFile("../docker-compose.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var composition struct {
		Services map[string]struct{ Command []string }
	}
	if err := yaml.Unmarshal(text, &composition); err != nil {
		t.Fatal(err)
	}
	s := composition.Services
	all["compose"] = pack{before: [][]string{s["migrate"].Command, s["documents"].Command, s["audit-key"].Command}, serve: packedContainer{Args: s["keel"].Command}}
	return all
}

// containersOf are those of one manifest that run the image, in its order.
func containersOf(t *testing.T, name string) (all []packedContainer) {
	t.Helper()
	f, err := os.Open("../envoy/kubernetes/" + name + ".yaml")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for d := yaml.NewDecoder(f); ; {
		var m struct {
			Spec struct {
				Template    podTemplate
				JobTemplate struct {
					Spec struct{ Template podTemplate }
				} `yaml:"jobTemplate"`
			}
		}
		err := d.Decode(&m)
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		for _, pod := range []podTemplate{m.Spec.Template, m.Spec.JobTemplate.Spec.Template} {
			for _, c := range append(pod.Spec.InitContainers, pod.Spec.Containers...) {
				if c.Image == "keel:local" {
					all = append(all, c)
				}
			}
		}
	}
}

// A machine is the image's root with the volumes and secrets of the packages, and the database that envoy/logins.sql makes, with the
// passwords that the Makefile makes.
type machine struct {
	dir, name      string // name of the database, for "keel"
	admin          *url.URL
	server, client *peerstest.CA
}

func newMachine(t *testing.T, binary string) *machine {
	t.Helper()
	m := &machine{dir: openDir(t), server: peerstest.NewCA(t, "keel"), client: peerstest.NewCA(t, "envoys")}
	program, err := os.ReadFile(binary)
	if err != nil {
		t.Fatal(err)
	}
	m.write(t, "usr/local/bin/keel", 0o755, program)
	config, err := os.ReadFile("../cmd/keel/sample.yaml")
	if err != nil {
		t.Fatal(err)
	}
	m.write(t, "etc/keel/sample.yaml", 0o644, config)
	m.makeDatabase(t)

	m.write(t, "run/secrets/keel-sign-in/sign-in.yaml", 0o644, signInOfThePage(t))
	m.write(t, "run/secrets/keel-sign-in/oidc-secret", 0o644, []byte("secret"))
	m.write(t, "run/secrets/keel-sign-in/session-key", 0o644, []byte(strings.Repeat("k", 32)))
	key := filepath.Join(m.dir, "run/secrets/keel/audit.key")
	keelOutput(t, "audit", "keys", "new", key, "--origin", "keel.example.com/audit")
	tls := filepath.Join(m.dir, "run/secrets/keel-tls")
	if err := errors.Join(os.Chmod(key, 0o644), os.Mkdir(tls, 0o755)); err != nil {
		t.Fatal(err)
	}
	m.server.Write(t, tls, m.client.PEM, "keel.keel.svc.cluster.local")
	for name, mode := range map[string]fs.FileMode{"var/lib/keel": 0o700, "var/lib/keel-anchor": 0o700, "run/keel": 0o755} {
		path := filepath.Join(m.dir, name)
		if err := errors.Join(os.MkdirAll(path, 0o755), os.Chown(path, imageUser, imageUser), os.Chmod(path, mode)); err != nil {
			t.Fatal(err)
		}
	}
	return m
}

func (m *machine) write(t *testing.T, name string, mode fs.FileMode, text []byte) {
	t.Helper()
	path := filepath.Join(m.dir, name)
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, text, mode)); err != nil {
		t.Fatal(err)
	}
}

// signInOfThePage is how docs/envoy.md has people sign in.
func signInOfThePage(t *testing.T) []byte {
	t.Helper()
	page, err := os.ReadFile("../docs/envoy.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, block := range regexp.MustCompile("(?s)```yaml\n(.*?)```").FindAllSubmatch(page, -1) {
		if strings.Contains(string(block[1]), "session_key_file") {
			return block[1]
		}
	}
	t.Fatal("docs/envoy.md has nobody sign in")
	return nil
}

func (m *machine) makeDatabase(t *testing.T) {
	t.Helper()
	psql, err := exec.LookPath("psql")
	if err != nil {
		t.Skipf("no psql for envoy/logins.sql (Debian has it in the package postgresql-client): %v", err)
	}
	server := pgserver.ForTest(t)
	if m.admin, err = url.Parse(server); err != nil {
		t.Fatal(err)
	}
	m.name = strings.TrimPrefix(m.admin.Path, "/") + "_packed" // logins belong to the server, which other tests use too
	m.admin.Path = "/" + m.name
	t.Cleanup(func() {
		db, err := pgx.Connect(context.Background(), server)
		if err != nil {
			t.Error(err)
			return
		}
		defer db.Close(context.Background())
		drop := []string{"drop database if exists " + m.name + " with (force)"}
		for _, role := range []string{"owner", "serve", "edit", "read", "writer", "editor", "reader"} {
			drop = append(drop, "drop role if exists "+m.name+"_"+role)
		}
		for _, sql := range drop {
			if _, err := db.Exec(context.Background(), sql); err != nil {
				t.Error(err)
			}
		}
	})

	made := t.TempDir()
	if out, err := exec.Command("make", "-C", made, "-f", filepath.Join(root(t), "Makefile"), ".keel/compose/read.pgpass").CombinedOutput(); err != nil {
		t.Fatalf("the passwords: %v\n%s", err, out)
	}
	var every []byte
	for _, login := range []string{"owner", "serve", "edit", "read"} {
		line, err := os.ReadFile(filepath.Join(made, ".keel/compose", login+".pgpass"))
		if err != nil {
			t.Fatal(err)
		}
		line = []byte(strings.Replace(string(line), ":keel_", ":"+m.name+"_", 1))
		m.write(t, "run/secrets/"+login+".pgpass", 0o644, line)
		every = append(every, line...)
	}
	m.write(t, "run/secrets/keel/pgpass", 0o644, every) // of three secrets, which pods have one each of: cmd/keel.TestKubernetes
	for range 2 {
		command := exec.Command(psql, "--no-psqlrc", "--dbname", server, "--set", "name="+m.name, "--set", "passwords="+filepath.Join(m.dir, "run/secrets"), "--file", "../envoy/logins.sql")
		if out, err := command.CombinedOutput(); err != nil || strings.Contains(string(out), "ERROR") {
			t.Fatalf("envoy/logins.sql: %v\n%s", err, out)
		}
	}
}

// anyPort is an address that other tests may have taken.
var anyPort = regexp.MustCompile(`(0\.0\.0\.0):\d+$`)

// here are the arguments of a manifest, for this machine: any port, and the test's database, which has no TLS.
func (m *machine) here(t *testing.T, args []string) (all []string) {
	t.Helper()
	for _, arg := range args {
		if text, ok := strings.CutPrefix(arg, "--database="); ok {
			u, err := url.Parse(text)
			if err != nil {
				t.Fatal(err)
			}
			u.User = url.User(strings.Replace(u.User.Username(), "keel", m.name, 1))
			u.Host, u.Path = m.admin.Host, m.admin.Path
			q := u.Query()
			q.Set("sslmode", "disable")
			q.Del("sslrootcert")
			u.RawQuery = q.Encode()
			arg = "--database=" + u.String()
		}
		all = append(all, anyPort.ReplaceAllString(arg, "$1:0"))
	}
	return all
}
