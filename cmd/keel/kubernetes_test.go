package main

import (
	"errors"
	"io"
	"os"
	"path/filepath"
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
		Template struct {
			Spec struct {
				TerminationGracePeriodSeconds int            `yaml:"terminationGracePeriodSeconds"`
				InitContainers                []podContainer `yaml:"initContainers"`
				Containers                    []podContainer
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
		MountPath string `yaml:"mountPath"`
	} `yaml:"volumeMounts"`
}

// What pods tell Keel it understands, and its ports, folders and times are those that the pod has.
func TestKubernetes(t *testing.T) {
	files, err := filepath.Glob("../../envoy/kubernetes/*.yaml")
	if err != nil || len(files) != 2 {
		t.Fatalf("manifests %v, %v", files, err)
	}
	served := 0
	for _, file := range files {
		for _, m := range readManifests(t, file) {
			pod := m.Spec.Template.Spec
			for _, c := range append(pod.InitContainers, pod.Containers...) {
				where := filepath.Base(file) + " " + m.Metadata.Name + " " + c.Name
				if c.Image != "keel:local" {
					if !pinned.MatchString(c.Image) {
						t.Errorf("%s: image %s is not pinned", where, c.Image)
					}
					continue
				}
				cli := parseLine(t, where, c.Args)
				if c.Args[0] != "serve" {
					continue
				}
				served++
				serve := cli.Serve
				ports := map[string]int{}
				for _, p := range c.Ports {
					ports[p.Name] = p.ContainerPort
				}
				for name, addr := range map[string]string{"grpc": serve.GRPC, "admin": serve.Admin} {
					if strings.HasPrefix(addr, "unix:") {
						mounted(t, where, c, strings.TrimPrefix(addr, "unix:"))
					} else if addr != "0.0.0.0:"+strconv.Itoa(ports[name]) {
						t.Errorf("%s: %s listens on %s, and its port is %d", where, name, addr, ports[name])
					}
				}
				mounted(t, where, c, serve.Journal)
				mounted(t, where, c, serve.AuditKey)
				for _, secret := range []string{"passfile=", "sslrootcert="} {
					_, path, _ := strings.Cut(serve.Database, secret)
					path, _, _ = strings.Cut(path, "&")
					mounted(t, where, c, path)
				}
				if !strings.Contains(serve.Database, "sslmode=verify-full") || strings.Contains(strings.SplitN(serve.Database, "@", 2)[0], "keel:") {
					t.Errorf("%s: want a server that is verified, and no password: %s", where, serve.Database)
				}
				// What processor.Close takes after the drain; see there.
				if grace := time.Duration(pod.TerminationGracePeriodSeconds) * time.Second; grace < serve.Drain+10*time.Second {
					t.Errorf("%s: it is killed after %v, and may drain for %v and write for 10s", where, grace, serve.Drain)
				}
			}
		}
	}
	if served != 2 {
		t.Errorf("%d pods serve", served)
	}
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

// mounted holds a file or folder to be in a volume, as the root file system is read-only.
func mounted(t *testing.T, where string, c podContainer, path string) {
	t.Helper()
	for _, v := range c.VolumeMounts {
		if strings.HasPrefix(path, v.MountPath+"/") {
			return
		}
	}
	t.Errorf("%s: %q is in no volume", where, path)
}
