#!/usr/bin/env bash
# Compares the Go benchmarks of two commits: e2e/bench/benchstat.sh OLD [NEW], where
# NEW is the working tree unless it is named.
#
#   BENCH=Decide PKG=./budget/ledger/escrow e2e/bench/benchstat.sh main
#
# Each commit is checked out below .keel/benchstat; the two take turns, so that what
# else the machine does it does to both. COUNT is how often, 6 unless it says another.
set -euo pipefail
cd "$(dirname "$0")/../.."

# Pinned, and not in go.mod: nothing of Keel needs it.
benchstat=golang.org/x/perf/cmd/benchstat@v0.0.0-20260908200009-22c9c6c9d4da

old=${1:?usage: e2e/bench/benchstat.sh OLD [NEW]}
new=${2:-}
bench=${BENCH:-.} pkg=${PKG:-./...} count=${COUNT:-6}

out=.keel/benchstat
mkdir -p "$out"
trees=()
trap 'for t in "${trees[@]}"; do git worktree remove --force "$t"; done' EXIT

# checkout puts a commit into a folder that goes when this script does.
checkout() {
  git worktree remove --force "$out/$1" 2>/dev/null || true
  git worktree add --quiet --detach "$out/$1" "$2"
  trees+=("$out/$1")
}
checkout old "$old"
from=. && [ -z "$new" ] || { checkout new "$new" && from=$out/new; }

: >"$out/old.txt" && : >"$out/new.txt"
for _ in $(seq "$count"); do
  (cd "$out/old" && go test -run '^$' -bench "$bench" -benchmem $pkg) >>"$out/old.txt"
  (cd "$from" && go test -run '^$' -bench "$bench" -benchmem $pkg) >>"$out/new.txt"
done
go run "$benchstat" "$out/old.txt" "$out/new.txt"
