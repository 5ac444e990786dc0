// Package lint names what is unsafe in the configuration that attaches Keel to
// Envoy, Istio or Envoy Gateway: where calls could pass unmetered, be refused for
// no reason, hang, or be charged wrongly. Every rule is something that was seen to
// happen on the real Envoy 1.40, or that its reference says.
//
// Lint reads bootstraps, config dumps, xDS files and manifests, YAML or JSON, and
// judges all of them together, as the mesh does. Raw Envoy configuration is read by
// the descriptors of Envoy's own API, so that both spellings of a field are one and a
// setting that Envoy doesn't have is told.
//
// What is not known is not unsafe: a cluster that comes by xDS, or a policy in a file
// that was not given, is told as unseen and is no finding, unless Options.Complete
// says that the files are all there is.
//
// Lint changes nothing, calls nobody, and refuses to judge what it can't parse.
package lint
