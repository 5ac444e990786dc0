// Command pilot writes what Istio would have a gateway's Envoy run: it feeds manifests to Istio's
// own control plane, in this process, and makes one static bootstrap of the listeners, routes,
// clusters and endpoints that it generates. It has no part in Keel, and is a module of its own so that
// Keel does not depend on Istio.
//
// Istio's Envoy has filters that the stock Envoy lacks. They are dropped by name (see foreign), and each
// is told on standard error; any other stays, so that a stock Envoy refuses it.
package main

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"os"
	"regexp"
	"strings"

	bootstrap "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"istio.io/istio/pilot/pkg/model"
	"istio.io/istio/pilot/test/xds"
	"istio.io/istio/pkg/config/mesh"
	"istio.io/istio/pkg/log"
	"istio.io/istio/pkg/test"
	"istio.io/istio/pkg/util/protomarshal"
)

func main() {
	meshConfig := flag.String("mesh-config", "", "YAML `file` that is merged into Istio's own configuration")
	namespace := flag.String("namespace", "istio-system", "namespace of the gateway's pods")
	selector := flag.String("selector", "istio=ingressgateway", "`KEY=VALUE` label of the gateway's pods")
	flag.Parse()
	if err := run(*meshConfig, *namespace, *selector, flag.Args()); err != nil {
		fmt.Fprintln(os.Stderr, "pilot:", err)
		os.Exit(1)
	}
}

func run(meshConfig, namespace, selector string, files []string) error {
	if len(files) == 0 {
		return errors.New("no manifests were named")
	}
	// Its errors are about definitions that the cluster in memory lacks; what matters is returned.
	quiet := log.DefaultOptions()
	quiet.SetDefaultOutputLevel(log.OverrideScopeName, log.NoneLevel)
	if err := log.Configure(quiet); err != nil {
		return err
	}
	options := xds.FakeOptions{MeshConfig: mesh.DefaultMeshConfig()}
	if meshConfig != "" {
		text, err := os.ReadFile(meshConfig)
		if err != nil {
			return err
		}
		if err := protomarshal.ApplyYAML(string(text), options.MeshConfig); err != nil {
			return fmt.Errorf("%s: %w", meshConfig, err)
		}
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		for _, doc := range bytes.Split(text, []byte("\n---\n")) {
			if istioObject.Match(doc) {
				options.ConfigString += "\n---\n" + string(doc)
			} else {
				options.KubernetesObjectString += "\n---\n" + string(doc)
			}
		}
	}
	key, value, ok := strings.Cut(selector, "=")
	if !ok {
		return fmt.Errorf("selector %q: want KEY=VALUE", selector)
	}
	labels := map[string]string{key: value}
	var made *bootstrap.Bootstrap
	err := test.Wrap(func(t test.Failer) {
		server := xds.NewFakeDiscoveryServer(t, options)
		proxy := server.SetupProxy(&model.Proxy{
			Type: model.Router, ConfigNamespace: namespace, Labels: labels,
			Metadata: &model.NodeMetadata{Namespace: namespace, Labels: labels},
		})
		var err error
		if made, err = static(server.Listeners(proxy), server.Routes(proxy), server.Clusters(proxy), server.Endpoints(proxy)); err != nil {
			t.Fatal(err)
		}
	})
	if err != nil {
		return err
	}
	text, err := protojson.Marshal(made)
	if err != nil {
		return err
	}
	_, err = os.Stdout.Write(append(text, '\n'))
	return err
}

// istioObject is a manifest that Istio reads; others are Kubernetes' own.
var istioObject = regexp.MustCompile(`(?m)^apiVersion: *"?[a-z]+\.istio\.io/`)
