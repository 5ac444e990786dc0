package main

import (
	"errors"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/goccy/go-yaml"
)

// manifest is what these tests look at of one in envoy/kubernetes. e2e/mesh holds them to the types of Kubernetes.
type manifest struct {
	Kind     string
	Metadata struct{ Name string }
	Spec     struct {
		Template    podTemplate
		JobTemplate struct {
			Spec struct{ Template podTemplate }
		} `yaml:"jobTemplate"`
	}
}

type podTemplate struct {
	Spec struct {
		TerminationGracePeriodSeconds int            `yaml:"terminationGracePeriodSeconds"`
		InitContainers                []podContainer `yaml:"initContainers"`
		Containers                    []podContainer
		Volumes                       []struct {
			Name   string
			Secret struct {
				SecretName string `yaml:"secretName"`
			}
		}
	}
}

type podContainer struct {
	Name, Image string
	Args        []string
	Ports       []struct {
		Name          string
		ContainerPort int `yaml:"containerPort"`
	}
	VolumeMounts []struct {
		Name      string
		MountPath string `yaml:"mountPath"`
	} `yaml:"volumeMounts"`
}

// loginFor is the least that a command needs of the database, by docs/security.md, and the secret with its password.
var loginFor = map[string]struct{ login, secret string }{
	"serve": {"keel_serve", "keel"}, "migrate": {"keel_owner", "keel-owner"}, "audit checkpoint": {"keel_read", "keel-reader"}, "audit verify": {"keel_serve", "keel"},
}

// What pods tell Keel it understands; its ports, folders and times are those that the pod has; and each has the login that it needs, and
// no other.
func TestKubernetes(t *testing.T) {
	files, err := filepath.Glob("../../envoy/kubernetes/*.yaml")
	if err != nil || len(files) != 3 {
		t.Fatalf("manifests %v, %v", files, err)
	}
	ran := map[string]int{}
	for _, file := range files {
		for _, m := range readManifests(t, file) {
			pod := m.Spec.Template.Spec
			if m.Kind == "CronJob" {
				pod = m.Spec.JobTemplate.Spec.Template.Spec
			}
			for _, c := range append(pod.InitContainers, pod.Containers...) {
				where := filepath.Base(file) + " " + m.Metadata.Name + " " + c.Name
				if c.Image != "keel:local" {
					if !pinned.MatchString(c.Image) {
						t.Errorf("%s: image %s is not pinned", where, c.Image)
					}
					continue
				}
				cli, verb := parseLine(t, where, c.Args), c.Args[0]
				if verb == "audit" {
					verb += " " + c.Args[1]
				}
				ran[verb]++
				need := loginFor[verb]
				database := databaseIn(c.Args)
				if !strings.HasPrefix(database, "postgres://"+need.login+"@") || !strings.Contains(database, "sslmode=verify-full") {
					t.Errorf("%s: want %s, by a server that is verified, and no password: %s", where, need.login, database)
				}
				for _, secret := range []string{"passfile=", "sslrootcert="} {
					_, path, _ := strings.Cut(database, secret)
					path, _, _ = strings.Cut(path, "&")
					volume := mounted(t, where, c, path)
					for _, v := range pod.Volumes {
						if v.Name == volume && v.Secret.SecretName != need.secret {
							t.Errorf("%s: it is given the secret %q, and needs %s", where, v.Secret.SecretName, need.secret)
						}
					}
				}
				switch verb {
				case "audit checkpoint":
					mounted(t, where, c, cli.Audit.Checkpoint.Anchor[0])
				case "audit verify":
					mounted(t, where, c, cli.Audit.Verify.Anchor[0])
					mounted(t, where, c, cli.Audit.Verify.Key[0])
				case "serve":
					checkServe(t, where, c, &cli.Serve)
					// What processor.Close takes after the drain; see there.
					if grace := time.Duration(pod.TerminationGracePeriodSeconds) * time.Second; grace < cli.Serve.Drain+10*time.Second {
						t.Errorf("%s: it is killed after %v, and may drain for %v and write for 10s", where, grace, cli.Serve.Drain)
					}
				}
			}
		}
	}
	if want := map[string]int{"serve": 2, "migrate": 1, "audit checkpoint": 1, "audit verify": 1}; !maps.Equal(ran, want) {
		t.Errorf("pods run %v, want %v", ran, want)
	}
}

func checkServe(t *testing.T, where string, c podContainer, serve *serveCmd) {
	t.Helper()
	ports := map[string]int{}
	for _, p := range c.Ports {
		ports[p.Name] = p.ContainerPort
	}
	for name, addr := range map[string]string{"grpc": serve.GRPC, "admin": serve.Admin} {
		if path, ok := strings.CutPrefix(addr, "unix:"); ok {
			mounted(t, where, c, path)
		} else if addr != "0.0.0.0:"+strconv.Itoa(ports[name]) {
			t.Errorf("%s: %s listens on %s, and its port is %d", where, name, addr, ports[name])
		}
	}
	files := []string{serve.Journal, serve.AuditKey}
	if !strings.HasPrefix(serve.GRPC, "unix:") {
		files = append(files, serve.TLSCert, serve.TLSKey, serve.TLSPeerCA)
		if serve.Cleartext || len(serve.Peer) == 0 || slices.Contains(serve.Peer, "*") {
			t.Errorf("%s: want names of Envoys, by their certificates: %v", where, serve.Peer)
		}
	}
	if !serve.NoReview {
		files = append(files, serve.SignIn)
	}
	for _, file := range files {
		mounted(t, where, c, file)
	}
	if len(serve.Config) > 0 {
		t.Errorf("%s: it changes documents, which is the editor's", where)
	}
}

func databaseIn(args []string) string {
	for _, arg := range args {
		if dsn, ok := strings.CutPrefix(arg, "--database="); ok {
			return dsn
		}
	}
	return ""
}

func readManifests(t *testing.T, file string) (all []manifest) {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for d := yaml.NewDecoder(f); ; {
		var m manifest
		err := d.Decode(&m)
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		all = append(all, m)
	}
}

// mounted holds a file or folder to be in a volume, as the root file system is read-only, and returns which.
func mounted(t *testing.T, where string, c podContainer, path string) string {
	t.Helper()
	for _, v := range c.VolumeMounts {
		if strings.HasPrefix(path, v.MountPath+"/") {
			return v.Name
		}
	}
	t.Errorf("%s: %q is in no volume", where, path)
	return ""
}
