package main

import (
	"fmt"
	"runtime/debug"

	"keel/pricing"
)

type versionCmd struct{}

func (c *versionCmd) Run(m *Main) error {
	fmt.Fprintf(m.Stdout, "keel %s\nprices %s\n", version(), pricing.Catalog().Version())
	return nil
}

// version is what the Go toolchain stamped into the binary.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	revision, modified := "", ""
	for _, s := range info.Settings {
		switch {
		case s.Key == "vcs.revision":
			revision = s.Value
		case s.Key == "vcs.modified" && s.Value == "true":
			modified = "+changes"
		}
	}
	if revision == "" {
		return info.Main.Version
	}
	return revision[:min(12, len(revision))] + modified
}
