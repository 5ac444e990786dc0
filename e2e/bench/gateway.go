package main

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"

	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	extprocv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/ext_proc/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"keel/envoy"
)

// An amendment changes what Keel's own generator made of a configuration, so that
// a variant differs from Keel's in that and in nothing else.
type amendment func(*bootstrapv3.Bootstrap) error

// startEnvoy starts an Envoy between clients and the provider.
func (s *stage) startEnvoy(ctx context.Context, name string, mode envoy.Mode, processor string, amend ...amendment) (*envoy.Envoy, error) {
	var failure error
	e, err := envoy.Start(ctx, envoy.Options{
		Dir: filepath.Join(s.dir, name, "envoy"), Progress: s.progress,
		Config: envoy.Config{
			Mode: mode, Processor: processor,
			Providers: []envoy.Provider{{Name: "openai", Host: "api.openai.com", Address: s.provider.url()}},
		},
		Amend: func(b *bootstrapv3.Bootstrap) {
			for _, a := range amend {
				if err := a(b); err != nil && failure == nil {
					failure = err
				}
			}
		},
	})
	if err == nil && failure != nil {
		e.Stop()
		return nil, failure
	}
	return e, err
}

// withoutProcessor takes out what asks the processor, and where it was to be found.
func withoutProcessor(b *bootstrapv3.Bootstrap) error {
	dropCluster(b, "keel_processor")
	return manager(b, func(m *hcmv3.HttpConnectionManager) error {
		m.HttpFilters = slices.DeleteFunc(m.HttpFilters, func(f *hcmv3.HttpFilter) bool {
			return f.Name == envoy.FilterName || f.Name == envoy.AuthzFilterName || f.Name == envoy.ChangeFilterName
		})
		return nil
	})
}

// withoutLog takes the access log service out.
func withoutLog(b *bootstrapv3.Bootstrap) error {
	dropCluster(b, "keel_access_log")
	return manager(b, func(m *hcmv3.HttpConnectionManager) error {
		m.AccessLog = nil
		return nil
	})
}

// requestOnly shows the processor nothing of the answer.
func requestOnly(b *bootstrapv3.Bootstrap) error {
	return manager(b, func(m *hcmv3.HttpConnectionManager) error {
		for _, f := range m.HttpFilters {
			if f.Name != envoy.FilterName {
				continue
			}
			var p extprocv3.ExternalProcessor
			if err := f.GetTypedConfig().UnmarshalTo(&p); err != nil {
				return err
			}
			p.ProcessingMode.ResponseHeaderMode = extprocv3.ProcessingMode_SKIP
			p.ProcessingMode.ResponseBodyMode = extprocv3.ProcessingMode_NONE
			p.ProcessingMode.ResponseTrailerMode = extprocv3.ProcessingMode_SKIP
			return repack(f.GetTypedConfig(), &p)
		}
		return fmt.Errorf("no filter %s", envoy.FilterName)
	})
}

func dropCluster(b *bootstrapv3.Bootstrap, name string) {
	b.StaticResources.Clusters = slices.DeleteFunc(b.StaticResources.Clusters, func(c *clusterv3.Cluster) bool { return c.Name == name })
}

// manager changes the HTTP connection manager, where most of the configuration is.
func manager(b *bootstrapv3.Bootstrap, change func(*hcmv3.HttpConnectionManager) error) error {
	packed := b.StaticResources.Listeners[0].FilterChains[0].Filters[0].GetTypedConfig()
	var m hcmv3.HttpConnectionManager
	if err := packed.UnmarshalTo(&m); err != nil {
		return err
	}
	if err := change(&m); err != nil {
		return err
	}
	return repack(packed, &m)
}

func repack(a *anypb.Any, m proto.Message) error {
	packed, err := anypb.New(m)
	if err != nil {
		return err
	}
	a.Value = packed.Value
	return nil
}
