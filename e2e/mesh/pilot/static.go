package main

import (
	"fmt"
	"os"

	bootstrap "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	cluster "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	endpoint "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	listener "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	route "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	hcm "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
)

// foreign are the parts of Istio's Envoy that the stock one lacks, and why Keel's tests can do without.
var foreign = map[string]string{
	"istio.metadata_exchange": "tells peers of the mesh who they are, for Istio's telemetry",
	"istio.alpn":              "chooses the protocol of mutual TLS between sidecars",
	"istio.stats":             "Istio's own metrics",
	"tlsMode-istio":           "mutual TLS between sidecars; its certificates come from Istio's agent",
}

// dropped reports whether a part is foreign, and tells it.
func dropped(where, name string) bool {
	why, ok := foreign[name]
	if ok {
		fmt.Fprintf(os.Stderr, "pilot: %s: dropped %s: %s\n", where, name, why)
	}
	return ok
}

// static is a bootstrap of all that comes by xDS.
func static(listeners []*listener.Listener, routes []*route.RouteConfiguration, clusters []*cluster.Cluster, endpoints []*endpoint.ClusterLoadAssignment) (*bootstrap.Bootstrap, error) {
	named := map[string]*route.RouteConfiguration{}
	for _, r := range routes {
		named[r.Name] = r
	}
	b := &bootstrap.Bootstrap{StaticResources: &bootstrap.Bootstrap_StaticResources{Listeners: listeners, Clusters: clusters}}
	for _, l := range listeners {
		for _, chain := range l.FilterChains {
			for _, filter := range chain.Filters {
				if err := inline(l.Name, filter, named); err != nil {
					return nil, err
				}
			}
		}
	}
	assigned := map[string]*endpoint.ClusterLoadAssignment{}
	for _, e := range endpoints {
		assigned[e.ClusterName] = e
	}
	for _, c := range clusters {
		if c.GetType() == cluster.Cluster_EDS {
			c.ClusterDiscoveryType = &cluster.Cluster_Type{Type: cluster.Cluster_STATIC}
			c.EdsClusterConfig = nil
			c.LoadAssignment = assigned[c.Name]
		}
		c.Filters = keep(c.Filters, func(f *cluster.Filter) bool { return !dropped("cluster "+c.Name, f.Name) })
		c.TransportSocketMatches = keep(c.TransportSocketMatches, func(m *cluster.Cluster_TransportSocketMatch) bool { return !dropped("cluster "+c.Name, m.Name) })
	}
	return b, nil
}

// inline puts its routes into an HTTP connection manager.
func inline(where string, filter *listener.Filter, routes map[string]*route.RouteConfiguration) error {
	var manager hcm.HttpConnectionManager
	if !filter.GetTypedConfig().MessageIs(&manager) {
		return nil
	}
	if err := filter.GetTypedConfig().UnmarshalTo(&manager); err != nil {
		return err
	}
	manager.HttpFilters = keep(manager.HttpFilters, func(f *hcm.HttpFilter) bool { return !dropped("listener "+where, f.Name) })
	if rds := manager.GetRds(); rds != nil {
		r := routes[rds.RouteConfigName]
		if r == nil {
			return fmt.Errorf("listener %s: no routes %s were generated", where, rds.RouteConfigName)
		}
		// The same routes may be another listener's, too.
		manager.RouteSpecifier = &hcm.HttpConnectionManager_RouteConfig{RouteConfig: proto.CloneOf(r)}
	}
	config, err := anypb.New(&manager)
	if err != nil {
		return err
	}
	filter.ConfigType = &listener.Filter_TypedConfig{TypedConfig: config}
	return nil
}

func keep[T any](all []T, wanted func(T) bool) []T {
	var kept []T
	for _, one := range all {
		if wanted(one) {
			kept = append(kept, one)
		}
	}
	return kept
}
