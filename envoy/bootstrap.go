package envoy

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"

	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	"github.com/goccy/go-yaml"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
)

// Bootstrap is the whole configuration of an Envoy. The same Config gives the
// same result. An error names the field that is wrong.
func Bootstrap(c Config) (*bootstrapv3.Bootstrap, error) {
	c, err := c.complete()
	if err != nil {
		return nil, err
	}
	b := newBuilder(c)
	admin, err := parseAddress(c.Admin)
	if err != nil {
		return nil, err
	}
	bootstrap := &bootstrapv3.Bootstrap{
		Node:  &corev3.Node{Id: "keel", Cluster: "keel"},
		Admin: &bootstrapv3.Admin{Address: socket(admin)},
		StaticResources: &bootstrapv3.Bootstrap_StaticResources{
			Listeners: []*listenerv3.Listener{b.listener()},
			Clusters:  b.clusters(),
		},
	}
	if b.err != nil {
		return nil, b.err
	}
	if err := bootstrap.ValidateAll(); err != nil {
		return nil, fmt.Errorf("Envoy would refuse the configuration: %w", err)
	}
	return bootstrap, nil
}

// builder keeps the first error, so that the tree can be written as a tree.
type builder struct {
	Config
	processorCluster, accessLogCluster string // where Envoy finds Keel
	err                                error
}

func newBuilder(c Config) *builder {
	return &builder{Config: c, processorCluster: processorCluster, accessLogCluster: accessLogCluster}
}

// any packs the configuration of an extension.
func (b *builder) any(m proto.Message) *anypb.Any {
	if v, ok := m.(interface{ ValidateAll() error }); ok && b.err == nil {
		b.err = v.ValidateAll() // Bootstrap's own check does not look into it
	}
	a, err := anypb.New(m)
	if err != nil && b.err == nil {
		b.err = err
	}
	return a
}

func (b *builder) clusters() []*clusterv3.Cluster {
	processor, err := parseProcessor(b.Processor)
	if err != nil && b.err == nil {
		b.err = err
	}
	// Calls of the filter and the access log go to one server by two clusters,
	// so that neither can use up the other's connections.
	clusters := []*clusterv3.Cluster{
		b.grpcCluster(processorCluster, processor),
		b.grpcCluster(accessLogCluster, processor),
	}
	for _, p := range b.Providers {
		clusters = append(clusters, b.providerCluster(p))
	}
	return clusters
}

func socket(a address) *corev3.Address {
	if a.path != "" {
		return &corev3.Address{Address: &corev3.Address_Pipe{Pipe: &corev3.Pipe{Path: a.path}}}
	}
	return &corev3.Address{Address: &corev3.Address_SocketAddress{SocketAddress: &corev3.SocketAddress{
		Address: a.host, PortSpecifier: &corev3.SocketAddress_PortValue{PortValue: a.port},
	}}}
}

// unlimited lifts a circuit breaker. Every call in flight is one stream to the
// processor and one to the provider, for minutes; Envoy's default of 1024
// would answer the next one with an error. Budgets are the limit here.
const unlimited = math.MaxUint32

// JSON writes a configuration as Envoy reads it from a file named *.json. The
// same configuration gives the same bytes.
func JSON(b *bootstrapv3.Bootstrap) ([]byte, error) {
	text, err := protojson.MarshalOptions{UseProtoNames: true}.Marshal(b)
	if err != nil {
		return nil, err
	}
	// protojson varies its white space on purpose.
	var out bytes.Buffer
	if err := json.Indent(&out, text, "", "  "); err != nil {
		return nil, err
	}
	out.WriteByte('\n')
	return out.Bytes(), nil
}

// YAML writes a configuration as Envoy reads it from a file named *.yaml.
func YAML(b *bootstrapv3.Bootstrap) ([]byte, error) {
	text, err := JSON(b)
	if err != nil {
		return nil, err
	}
	return yaml.JSONToYAML(text)
}
