package lint

import "strings"

// A manager is an HTTP connection manager and what it stands in.
type manager struct {
	node     *node
	listener *node   // nil where only the manager is known
	filters  []*node // of HTTP, in order
	routes   *node   // nil where they come by xDS and were not given
}

// An object is a manifest of Kubernetes.
type object struct {
	node                  *node
	kind, name, namespace string
	spec                  *node
}

// collect sorts a document by what it is.
func (l *linter) collect(n *node) {
	switch {
	case n == nil || n.kind == null:
	case n.kind == sequence:
		for _, item := range n.items {
			l.collect(item)
		}
	case n.kind != mapping:
		l.unseen("", n, "neither a manifest nor a configuration")
	case n.get("apiVersion") != nil && n.get("kind") != nil:
		l.manifest(n)
	case n.get("kind").is("Budget"): // Keel's own
		l.budgets = append(l.budgets, n)
	case n.get("@type") != nil:
		l.resource(n, n.typeName())
	case n.get("configs") != nil: // a dump, as the admin interface gives it
		l.known = true
		for _, config := range n.get("configs").list() {
			l.resource(config, config.typeName())
		}
	case n.get("xds") != nil: // what egctl x translate writes
		for _, f := range n.get("xds").values() {
			l.collect(f)
		}
	case n.get("resources") != nil: // a file that Envoy watches
		for _, r := range n.get("resources").list() {
			l.resource(r, r.typeName())
		}
	case has(n, "static_resources", "staticResources", "dynamic_resources", "dynamicResources"):
		l.resource(n, msgBootstrap)
	case has(n, "filter_chains", "filterChains"):
		l.resource(n, msgListener)
	case has(n, "virtual_hosts", "virtualHosts"):
		l.resource(n, msgRoutes)
	case has(n, "load_assignment", "loadAssignment", "cluster_type", "clusterType"):
		l.resource(n, msgCluster)
	case n.get("meshConfig") != nil: // Helm values
		l.mesh(n.get("meshConfig"))
	case has(n, "extensionProviders", "defaultProviders", "accessLogFile", "defaultConfig"):
		l.mesh(n)
	default:
		l.unseen("", n, "of no kind that is known here: it is not judged")
	}
}

func has(n *node, names ...string) bool {
	for _, name := range names {
		if n.get(name) != nil {
			return true
		}
	}
	return false
}

func (l *linter) mesh(n *node) {
	l.known = true
	l.meshes = append(l.meshes, n)
}

// resource sorts a message of Envoy's API.
func (l *linter) resource(n *node, name string) {
	if n == nil {
		return
	}
	l.understand(n, name)
	switch name {
	case msgBootstrap:
		l.known = true
		static := n.get("static_resources")
		for _, listener := range static.get("listeners").list() {
			l.listener(listener)
		}
		for _, cluster := range static.get("clusters").list() {
			l.cluster(cluster)
		}
	case msgListener:
		l.known = true
		l.listener(n)
	case msgCluster:
		l.known = true
		l.cluster(n)
	case msgRoutes:
		l.known = true
		l.routes[n.get("name").text()] = n
	case msgAssignment:
		l.assignments[n.get("cluster_name").text()] = n
	case "envoy.admin.v3.ListenersConfigDump":
		l.each(n, "static_listeners", "listener")
		for _, d := range n.get("dynamic_listeners").list() {
			l.typed(d.get("active_state", "listener"))
		}
	case "envoy.admin.v3.ClustersConfigDump":
		l.each(n, "static_clusters", "cluster")
		l.each(n, "dynamic_active_clusters", "cluster")
	case "envoy.admin.v3.RoutesConfigDump":
		l.each(n, "static_route_configs", "route_config")
		l.each(n, "dynamic_route_configs", "route_config")
	case "envoy.admin.v3.EndpointsConfigDump":
		l.each(n, "static_endpoint_configs", "endpoint_config")
		l.each(n, "dynamic_endpoint_configs", "endpoint_config")
	}
}

func (l *linter) each(n *node, list, field string) {
	for _, item := range n.get(list).list() {
		l.typed(item.get(field))
	}
}

func (l *linter) typed(n *node) { l.resource(n, n.typeName()) }

func (l *linter) cluster(n *node) {
	l.clusters[n.get("name").text()] = n
	if assignment := n.get("load_assignment"); assignment != nil {
		l.assignments[n.get("name").text()] = assignment
	}
}

// listener finds the HTTP connection managers in a listener.
func (l *linter) listener(n *node) {
	chains := n.get("filter_chains").list()
	if last := n.get("default_filter_chain"); last != nil {
		chains = append(chains[:len(chains):len(chains)], last)
	}
	for _, chain := range chains {
		for _, f := range chain.get("filters").list() {
			if config := f.get("typed_config"); config.typeName() == msgManager {
				l.manager(config, n)
			} else if f.get("config_discovery") != nil {
				l.unseen(notAttached, f, "a network filter that comes by xDS")
			}
		}
	}
}

func (l *linter) manager(n, listener *node) {
	m := &manager{node: n, listener: listener, filters: n.get("http_filters").list(), routes: n.get("route_config")}
	l.managers = append(l.managers, m)
}

// routeConfig finds the routes that come under a name, once everything is collected.
func (l *linter) routeConfig(m *manager) {
	if m.routes != nil {
		return
	}
	name := m.node.get("rds", "route_config_name")
	if m.routes = l.routes[name.text()]; m.routes == nil {
		l.unseen(routeNotCovered, m.node.at("rds", "route_config_name"), "the routes come by xDS and are not among the files: whether each is covered, its limits and its retries are not judged")
	}
}

// manifest sorts an object of Kubernetes.
func (l *linter) manifest(n *node) {
	kind := n.get("kind").text()
	if kind == "List" || strings.HasSuffix(kind, "List") && n.get("items") != nil {
		for _, item := range n.get("items").list() {
			l.collect(item)
		}
		return
	}
	o := &object{node: n, kind: kind, name: n.get("metadata", "name").text(), namespace: n.get("metadata", "namespace").text(), spec: n.get("spec")}
	l.objects = append(l.objects, o)
	switch kind {
	case "IstioOperator":
		if mesh := o.spec.get("meshConfig"); mesh != nil {
			l.mesh(mesh)
		}
	case "ConfigMap":
		l.configMap(n.get("data", "mesh"))
	case "EnvoyFilter":
		l.known = true
		l.envoyFilter(o)
	case "EnvoyPatchPolicy":
		l.known = true
		l.patchPolicy(o)
	case "Telemetry", "AuthorizationPolicy", "RequestAuthentication", "VirtualService", "DestinationRule",
		"EnvoyExtensionPolicy", "SecurityPolicy", "ClientTrafficPolicy", "BackendTrafficPolicy", "EnvoyProxy", "HTTPRoute", "Backend":
		l.known = true
	}
}

// configMap reads Istio's MeshConfig, which is YAML within YAML.
func (l *linter) configMap(n *node) {
	if n.text() == "" {
		return
	}
	inner := &file{name: n.file.name, text: n.text()}
	documents, err := readYAML(inner)
	if err != nil {
		l.unseen("", n, "MeshConfig can't be parsed: "+err.Error())
		return
	}
	line, _ := n.place()
	for _, document := range documents {
		document.walk(func(v *node) { v.line += line }) // it begins on the line behind its name
		document.parent, document.name = n.parent, n.name
		l.mesh(document)
	}
}
