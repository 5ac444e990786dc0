//go:build linux

package e2e

import (
	"bytes"
	"debug/elf"
	"errors"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/goccy/go-yaml"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"

	"keel/budget/ledger/pgserver"
)

// imageUser is the user of the image, who owns nothing but its volumes.
const imageUser = 65532

// The image's binary runs in the image's root, as the image's user, by the command lines of the manifests and of
// docker-compose.yaml, and their probes are answered. It needs root for a chroot, and no container; make image builds the binary.
func TestImage(t *testing.T) {
	t.Parallel()
	binary := builtBy(t, "make image", "keel-static")
	if os.Getuid() != 0 {
		t.Skip("only root may enter another root")
	}
	file, err := elf.Open(binary)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	for _, p := range file.Progs {
		if p.Type == elf.PT_INTERP {
			t.Fatal("the binary is not static, and an image from scratch has no loader")
		}
	}
	for where, c := range packaged(t) {
		t.Run(where, func(t *testing.T) {
			t.Parallel()
			dir := imageRoot(t, binary)
			dsn, err := url.Parse(pgserver.ForTest(t))
			if err != nil {
				t.Fatal(err)
			}
			if out, err := exec.Command(keel, "migrate", "--database", dsn.String()).CombinedOutput(); err != nil {
				t.Fatalf("keel migrate: %v\n%s", err, out)
			}
			var args []string
			for _, arg := range c.Args {
				arg = anyPort.ReplaceAllString(arg, "$1:0")
				if text, ok := strings.CutPrefix(arg, "--database="); ok {
					arg = "--database=" + databaseOf(t, text, dsn)
				}
				args = append(args, arg)
			}
			c.runIn(t, dir, args)
		})
	}
}

// anyPort is an address that other tests may have taken.
var anyPort = regexp.MustCompile(`(0\.0\.0\.0):\d+$`)

type packagedContainer struct {
	Name, Image    string
	Args           []string
	StartupProbe   *probe `yaml:"startupProbe"`
	ReadinessProbe *probe `yaml:"readinessProbe"`
	LivenessProbe  *probe `yaml:"livenessProbe"`
}

type probe struct {
	HTTPGet *struct{ Path string } `yaml:"httpGet"`
	GRPC    *struct{ Port int }
}

// packaged are the containers that serve, of the manifests and of docker-compose.yaml.
func packaged(t *testing.T) map[string]packagedContainer {
	t.Helper()
	all := map[string]packagedContainer{}
	for _, name := range []string{"gateway", "sidecar"} {
		f, err := os.Open("../envoy/kubernetes/" + name + ".yaml")
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		for d := yaml.NewDecoder(f); ; {
			var m struct {
				Spec struct {
					Template struct {
						Spec struct {
							InitContainers []packagedContainer `yaml:"initContainers"`
							Containers     []packagedContainer
						}
					}
				}
			}
			err := d.Decode(&m)
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			for _, c := range append(m.Spec.Template.Spec.InitContainers, m.Spec.Template.Spec.Containers...) {
				if c.Image == "keel:local" && c.Args[0] == "serve" {
					all[name] = c
				}
			}
		}
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
	all["compose"] = packagedContainer{Args: composition.Services["keel"].Command}
	for where, c := range all {
		if len(c.Args) < 5 {
			t.Fatalf("%s serves nothing", where)
		}
	}
	if len(all) != 3 {
		t.Fatalf("only %d containers", len(all))
	}
	return all
}

// imageRoot is what Dockerfile makes, with the volumes and secrets of the manifests.
func imageRoot(t *testing.T, binary string) string {
	t.Helper()
	dir := openDir(t)
	write := func(name string, mode fs.FileMode, text []byte) {
		t.Helper()
		path := filepath.Join(dir, name)
		err := os.MkdirAll(filepath.Dir(path), 0o755)
		if err == nil {
			err = os.WriteFile(path, text, mode)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	text, err := os.ReadFile(binary)
	if err != nil {
		t.Fatal(err)
	}
	write("usr/local/bin/keel", 0o755, text)
	write("run/secrets/pgpass", 0o644, nil)
	write("run/secrets/keel/pgpass", 0o644, nil)
	config, err := os.ReadFile("../cmd/keel/sample.yaml")
	if err != nil {
		t.Fatal(err)
	}
	write("etc/keel/sample.yaml", 0o644, config)
	key := filepath.Join(dir, "run/secrets/keel/audit.key")
	keelOutput(t, "audit", "keys", "new", key, "--origin", "keel.example.com/audit")
	if err := os.Chmod(key, 0o644); err != nil {
		t.Fatal(err)
	}
	for name, mode := range map[string]fs.FileMode{"var/lib/keel": 0o700, "run/keel": 0o770} {
		path := filepath.Join(dir, name)
		err := os.MkdirAll(path, 0o755)
		err = errors.Join(err, os.Chown(path, imageUser, imageUser), os.Chmod(path, mode))
		if err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// databaseOf is the test's database in the words of a manifest. The test's has no TLS.
func databaseOf(t *testing.T, text string, dsn *url.URL) string {
	t.Helper()
	u, err := url.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	u.User, u.Host, u.Path = dsn.User, dsn.Host, dsn.Path
	q := u.Query()
	q.Set("sslmode", "disable")
	q.Del("sslrootcert")
	u.RawQuery = q.Encode()
	return u.String()
}

var adminOn = regexp.MustCompile(`serving Envoy on (\S+), admin on http://\S+:(\d+)`)

func (c packagedContainer) runIn(t *testing.T, dir string, args []string) {
	t.Helper()
	said := new(buffer)
	process := exec.Command("/usr/local/bin/keel", args...)
	process.Dir, process.Env = "/", []string{}
	process.Stdout, process.Stderr = said, said
	process.SysProcAttr = &syscall.SysProcAttr{Chroot: dir, Credential: &syscall.Credential{Uid: imageUser, Gid: imageUser}, Pdeathsig: syscall.SIGKILL}
	if err := process.Start(); err != nil {
		t.Fatal(err)
	}
	exited := make(chan error, 1)
	go func() { exited <- process.Wait() }()
	t.Cleanup(func() { process.Process.Kill() })
	var found []string
	for deadline := time.Now().Add(patience); found == nil; time.Sleep(20 * time.Millisecond) {
		select {
		case err := <-exited:
			t.Fatalf("keel %s: %v\n%s", strings.Join(args, " "), err, said)
		default:
		}
		if found = adminOn.FindStringSubmatch(said.String()); found == nil && time.Now().After(deadline) {
			t.Fatalf("keel %s does not serve:\n%s", strings.Join(args, " "), said)
		}
	}
	grpcAddr, admin := found[1], "http://127.0.0.1:"+found[2]
	if path, ok := strings.CutPrefix(grpcAddr, "unix:"); ok {
		grpcAddr = "unix:" + filepath.Join(dir, path)
	} else {
		grpcAddr = "127.0.0.1" + grpcAddr[strings.LastIndex(grpcAddr, ":"):]
	}
	healthy := func() {
		t.Helper()
		conn, err := grpc.NewClient(grpcAddr, grpc.WithTransportCredentials(insecure.NewCredentials()))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if answer, err := healthv1.NewHealthClient(conn).Check(t.Context(), new(healthv1.HealthCheckRequest)); err != nil || answer.Status != healthv1.HealthCheckResponse_SERVING {
			t.Errorf("gRPC health: %v, %v", answer, err)
		}
	}
	get := func(path string) []byte {
		t.Helper()
		response, err := client.Get(admin + path)
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		if response.StatusCode != http.StatusOK {
			t.Errorf("%s: %d", path, response.StatusCode)
		}
		return readAll(t, response.Body)
	}
	probes := 0
	for _, probe := range []*probe{c.StartupProbe, c.ReadinessProbe, c.LivenessProbe} {
		if probe == nil {
			continue
		}
		probes++
		if probe.GRPC != nil {
			healthy()
		} else {
			get(probe.HTTPGet.Path)
		}
	}
	if probes != 3 && c.Name != "" {
		t.Errorf("%d probes", probes)
	}
	healthy() // which is how Envoy asks
	if !bytes.Contains(get("/metrics"), []byte("\nkeel_calls_in_flight ")) {
		t.Error("/metrics has no keel_calls_in_flight")
	}
	if entries, err := os.ReadDir(filepath.Join(dir, "var/lib/keel/journal")); err != nil || len(entries) == 0 {
		t.Errorf("nothing is in the journal's volume: %v", err)
	}
	process.Process.Signal(syscall.SIGTERM)
	select {
	case err := <-exited:
		if err != nil {
			t.Errorf("after SIGTERM: %v\n%s", err, said)
		}
	case <-time.After(patience):
		t.Errorf("it does not end:\n%s", said)
	}
}
