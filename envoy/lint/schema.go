package lint

import (
	"fmt"
	"strconv"
	"strings"

	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	// What the rules read into has to be known to the registry of messages.
	_ "github.com/envoyproxy/go-control-plane/envoy/admin/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/access_loggers/grpc/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/clusters/aggregate/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/ai_protocol_manager/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/aws_request_signing/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/credential_injector/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/decompressor/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/ext_authz/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/ext_proc/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/json_to_metadata/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/jwt_authn/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/lua/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/router/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/sse_to_metadata/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/upstream_codec/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/raw_buffer/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/upstreams/http/v3"
)

// The messages that rules ask for by name.
const (
	msgBootstrap      = "envoy.config.bootstrap.v3.Bootstrap"
	msgListener       = "envoy.config.listener.v3.Listener"
	msgNetworkFilter  = "envoy.config.listener.v3.Filter"
	msgFilterChain    = "envoy.config.listener.v3.FilterChain"
	msgManager        = "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
	msgHTTPFilter     = "envoy.extensions.filters.network.http_connection_manager.v3.HttpFilter"
	msgRoutes         = "envoy.config.route.v3.RouteConfiguration"
	msgVirtualHost    = "envoy.config.route.v3.VirtualHost"
	msgRoute          = "envoy.config.route.v3.Route"
	msgFilterConfig   = "envoy.config.route.v3.FilterConfig"
	msgCluster        = "envoy.config.cluster.v3.Cluster"
	msgAssignment     = "envoy.config.endpoint.v3.ClusterLoadAssignment"
	msgOptions        = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
	msgExtProc        = "envoy.extensions.filters.http.ext_proc.v3.ExternalProcessor"
	msgExtProcRoute   = "envoy.extensions.filters.http.ext_proc.v3.ExtProcPerRoute"
	msgExtAuthz       = "envoy.extensions.filters.http.ext_authz.v3.ExtAuthz"
	msgExtAuthzRoute  = "envoy.extensions.filters.http.ext_authz.v3.ExtAuthzPerRoute"
	msgJWT            = "envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication"
	msgCredential     = "envoy.extensions.filters.http.credential_injector.v3.CredentialInjector"
	msgAWSSigning     = "envoy.extensions.filters.http.aws_request_signing.v3.AwsRequestSigning"
	msgDecompressor   = "envoy.extensions.filters.http.decompressor.v3.Decompressor"
	msgAIProtocol     = "envoy.extensions.filters.http.ai_protocol_manager.v3.AiProtocolManager"
	msgComposite      = "envoy.extensions.filters.http.composite.v3.Composite"
	msgExecuteFilter  = "envoy.extensions.filters.http.composite.v3.ExecuteFilterAction"
	msgWithMatcher    = "envoy.extensions.common.matching.v3.ExtensionWithMatcher"
	msgJSONToMetadata = "envoy.extensions.filters.http.json_to_metadata.v3.JsonToMetadata"
	msgLua            = "envoy.extensions.filters.http.lua.v3.Lua"
	msgSSEToMetadata  = "envoy.extensions.filters.http.sse_to_metadata.v3.SseToMetadata"
	msgAccessLog      = "envoy.extensions.access_loggers.grpc.v3.HttpGrpcAccessLogConfig"
	msgAggregate      = "envoy.extensions.clusters.aggregate.v3.ClusterConfig"
	msgUpstreamTLS    = "envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext"
	msgRawBuffer      = "envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer"
	msgAny            = "google.protobuf.Any"
)

// free are messages whose JSON is not that of their fields.
var free = map[protoreflect.FullName]bool{
	"google.protobuf.Struct": true, "google.protobuf.Value": true, "google.protobuf.ListValue": true,
	"google.protobuf.Duration": true, "google.protobuf.Timestamp": true, "google.protobuf.FieldMask": true, "google.protobuf.Empty": true,
	"google.protobuf.BoolValue": true, "google.protobuf.StringValue": true, "google.protobuf.BytesValue": true,
	"google.protobuf.DoubleValue": true, "google.protobuf.FloatValue": true,
	"google.protobuf.Int32Value": true, "google.protobuf.Int64Value": true, "google.protobuf.UInt32Value": true, "google.protobuf.UInt64Value": true,
}

// typedStructs wrap the fields of a message that their writer did not know.
var typedStructs = map[string]bool{"xds.type.v3.TypedStruct": true, "udpa.type.v1.TypedStruct": true}

func descriptor(name string) protoreflect.MessageDescriptor {
	d, err := protoregistry.GlobalFiles.FindDescriptorByName(protoreflect.FullName(name))
	if err != nil {
		return nil
	}
	md, _ := d.(protoreflect.MessageDescriptor)
	return md
}

// understand gives the fields of n, a message of Envoy's API in JSON, the names that
// Envoy's reference has, and enum values too. It tells what Envoy's API 1.40 doesn't have.
func (l *linter) understand(n *node, name string) *node {
	if md := descriptor(name); md != nil && n != nil {
		l.message(n, md)
	}
	return n
}

func (l *linter) message(n *node, md protoreflect.MessageDescriptor) {
	if free[md.FullName()] || n.kind == null || n.message != "" {
		return
	}
	if md.FullName() == msgAny {
		l.extension(n)
		return
	}
	if n.kind != mapping {
		l.strange(n, "%s is a group of settings, and this is not", md.Name())
		return
	}
	n.message = string(md.FullName())
	for _, f := range n.fields {
		if f.name == "@type" {
			continue
		}
		fd := md.Fields().ByName(protoreflect.Name(f.name))
		if fd == nil {
			fd = md.Fields().ByJSONName(f.name)
		}
		if fd == nil {
			l.strange(f, "Envoy's %s has no setting %s", md.Name(), f.name)
			continue
		}
		f.name = string(fd.Name())
		l.settings(f, fd)
	}
}

func (l *linter) settings(n *node, fd protoreflect.FieldDescriptor) {
	switch {
	case n.kind == null:
	case fd.IsMap():
		if value := fd.MapValue().Message(); value != nil {
			for _, f := range n.fields {
				l.message(f, value)
			}
		}
	case fd.IsList():
		if n.kind != sequence {
			l.strange(n, "%s is a list, and this is not", fd.Name())
		}
		for _, item := range n.items {
			l.single(item, fd)
		}
	default:
		l.single(n, fd)
	}
}

func (l *linter) single(n *node, fd protoreflect.FieldDescriptor) {
	switch fd.Kind() {
	case protoreflect.MessageKind, protoreflect.GroupKind:
		l.message(n, fd.Message())
	case protoreflect.EnumKind:
		values := fd.Enum().Values()
		if number, err := strconv.ParseInt(n.text(), 10, 32); err == nil {
			if v := values.ByNumber(protoreflect.EnumNumber(number)); v != nil {
				n.value = string(v.Name())
				return
			}
		}
		if values.ByName(protoreflect.Name(n.text())) == nil && n.kind != null {
			l.strange(n, "%s can't be %q", fd.Name(), n.text())
		}
	default:
		if n.kind != scalar && n.kind != null {
			l.strange(n, "%s is a single value, and this is not", fd.Name())
		}
	}
}

// extension reads what an Any has in it, if it is of a kind that rules know.
func (l *linter) extension(n *node) {
	if typedStructs[n.typeName()] {
		l.unwrap(n)
	}
	if md := descriptor(n.typeName()); md != nil && !free[md.FullName()] {
		l.message(n, md)
	}
}

// unwrap makes a TypedStruct what it stands for.
func (l *linter) unwrap(n *node) {
	url, value := n.get("type_url"), n.get("value")
	if url == nil {
		url = n.get("typeUrl")
	}
	if url == nil || value == nil || value.kind != mapping {
		return
	}
	n.get("@type").value = url.text()
	fields := []*node{n.get("@type")}
	for _, f := range value.fields {
		f.parent = n
		fields = append(fields, f)
	}
	n.fields = fields
}

// strange tells what lint does not understand. Envoy refuses such a setting, unless it is newer.
func (l *linter) strange(n *node, format string, args ...any) {
	l.unseen("", n, fmt.Sprintf(format, args...)+" (API of Envoy 1.40): what it does is not judged")
}

// within follows a JSON pointer from a message, for the kind of what lies there. It
// returns nil where the way leads through something else.
func within(name, pointer string) (md protoreflect.MessageDescriptor, mapOf bool) {
	md = descriptor(name)
	steps := strings.Split(strings.Trim(pointer, "/"), "/")
	for i := 0; i < len(steps) && md != nil; i++ {
		if steps[i] == "" {
			continue
		}
		fd := md.Fields().ByName(protoreflect.Name(steps[i]))
		if fd == nil || fd.Message() == nil {
			return nil, false
		}
		md = fd.Message()
		switch {
		case fd.IsMap():
			md = fd.MapValue().Message()
			if i == len(steps)-1 {
				return md, true
			}
			i++ // the key
		case fd.IsList():
			i++ // the index
		}
	}
	return md, false
}
