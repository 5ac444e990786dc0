# Run "make" for what there is. Everything that a target needs besides Go, Python 3 and make it
# installs itself, pinned, into .keel.
SHELL         := bash
.SHELLFLAGS   := -eu -o pipefail -c
.DELETE_ON_ERROR:
MAKEFLAGS     += --warn-undefined-variables --no-builtin-rules
.DEFAULT_GOAL := help

FUZZTIME ?= 10s
BENCH    ?= .
ARGS     ?=
VULN     ?=
PACKAGES ?= ./...
CELL     ?= 1k-unique-unary-c64
PKG      ?= ./...
OLD      ?= main

.PHONY: help
help: ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: build
build: ## the binary, .keel/bin/keel
	go build -o .keel/bin/keel ./cmd/keel

.PHONY: run
run: build ## the whole stack: Envoy, Postgres, Keel and a sample provider (ARGS="--listen ...")
	exec .keel/bin/keel dev $(ARGS)

.PHONY: image
image: .keel/bin/keel-static ## the binary of the image, in the root of the image, by the command lines of the manifests
	go test ./e2e -run '^TestImage$$' -count 1

# By the line of Dockerfile, which TestImage runs where Dockerfile puts it: without docker, and as root for the chroot.
.PHONY: .keel/bin/keel-static
.keel/bin/keel-static:
	$$(sed -n 's/^RUN \(CGO_ENABLED=0 go build .*\) -o .*/env \1/p' Dockerfile) -o $@ ./cmd/keel

.PHONY: compose
compose: .keel/compose/read.pgpass ## the whole stack in containers, with Prometheus and Grafana (needs docker)
	docker compose up --build

# Passwords, each for those containers that need it. They read them as users of their own, so the folder is closed and its files are not.
.keel/compose/read.pgpass:
	mkdir -p -m 0700 .keel/compose
	random() { head -c 18 /dev/urandom | base64 | tr '+/' '-_' | tr -d '\n'; }; \
	for name in postgres grafana; do random > .keel/compose/$$name-password; done; \
	for login in owner serve edit read; do printf '*:*:*:keel_%s:%s\n' $$login "$$(random)" > .keel/compose/$$login.pgpass; done
	chmod 0644 .keel/compose/*

# The longest first: the others run beside it.
.PHONY: test
test: ## all tests, against the real Envoy and Postgres
	go test -timeout 30m ./e2e ./...
	cd e2e/promql && go test ./...

.PHONY: race
race: ## all tests under the race detector
	go test -race -timeout 60m ./...

# Istio's control plane and Envoy Gateway's translator take minutes to build, each, the first time.
.PHONY: mesh
mesh: .keel/bin/pilot .keel/bin/egctl ## Istio and Envoy Gateway: schemas, and what their own control planes make of the manifests, in the real Envoy
	cd e2e/mesh && go vet ./... && EGCTL=$(CURDIR)/.keel/bin/egctl go test -count 1 ./...
	go test ./e2e -run '^(TestIstio|TestEnvoyGateway)' -count 1

.keel/bin/pilot: $(wildcard e2e/mesh/pilot/*.go) e2e/mesh/pilot/go.mod
	cd e2e/mesh/pilot && go build -o $(CURDIR)/$@ .

.keel/bin/egctl:
	GOBIN=$(CURDIR)/.keel/bin go install github.com/envoyproxy/gateway/cmd/egctl@v1.9.1

.PHONY: chaos
chaos: ## ten minutes of kills, crashes, cut connections, full disks, wrong clocks and edits (KEEL_CHAOS=10m)
	KEEL_CHAOS=$${KEEL_CHAOS:-10m} go test ./e2e -run 'Chaos|PostgresAwayForLong' -count 1 -timeout 60m -v

.PHONY: torture
torture: ## random clients, providers and faults before an Envoy of every mode, which has to live: five minutes (KEEL_TORTURE=1h, KEEL_TORTURE_SEED=N)
	KEEL_TORTURE=$${KEEL_TORTURE:-5m} go test ./e2e -run '^TestTorture$$' -count 1 -timeout 0 -v

.PHONY: soak
soak: ## mixed traffic through the real Envoy, and nothing grows: two minutes (SOAK=24h)
	KEEL_SOAK=$${SOAK:-2m} go test ./e2e -run '^TestSoak$$' -count 1 -timeout 0 -v

.PHONY: lint
lint: vulnerabilities ## formatting, go vet, staticcheck, tidy modules, known vulnerabilities
	@unformatted=$$(gofmt -l .); [ -z "$$unformatted" ] || { echo "gofmt: $$unformatted"; exit 1; }
	go vet ./...
	go tool staticcheck ./...
	go mod tidy -diff

# Exit status 3 says that there is one. Where its database can't be reached nothing is known: that is said, and fails nothing.
.PHONY: vulnerabilities
vulnerabilities: ## govulncheck: known vulnerabilities that the code calls (VULN="-scan package": that are in what it imports)
	@status=0; said=$$(go tool govulncheck $(VULN) $(PACKAGES) 2>&1) || status=$$?; \
	if [ $$status -eq 0 ]; then echo "govulncheck: nothing is known"; \
	elif [ $$status -eq 1 ] && grep -q "fetching vulnerabilities" <<< "$$said"; then \
	  echo "govulncheck: NOT CHECKED, its database can't be reached: $$(grep -m 1 "fetching vulnerabilities" <<< "$$said")"; \
	else echo "$$said"; exit 1; fi

# The fuzzer of Go can fail with "context deadline exceeded" at the end of its time, without an
# input that fails. An input that does fail is written to testdata/fuzz, and is not tried again.
.PHONY: fuzz
fuzz: ## every fuzz target for FUZZTIME (10s) each
	@for package in $$(go list ./...); do \
	  for target in $$(go test -list '^Fuzz' $$package | grep '^Fuzz' || true); do \
	    echo "== $$package $$target"; \
	    run() { go test -run '^$$' -fuzz "^$$target$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 1x $$package; }; \
	    run || { [ -z "$$(git status --porcelain -- '*/testdata/fuzz/*')" ] && echo "no input was found: once more" && run; }; \
	  done; \
	done

.PHONY: bench
bench: ## what Keel costs beside an ext_proc that does nothing: docs/performance.md, in 13 minutes (ARGS="--help", BENCH_FULL=1, BENCH_PEERS=1)
	go run ./e2e/bench $(ARGS)

.PHONY: profile
profile: ## CPU, heap, mutex profiles and a trace of Keel under the load of CELL, into .keel/profile
	go run ./e2e/bench --cells $(CELL) --variants full --profile .keel/profile $(ARGS)

.PHONY: microbench
microbench: ## Go benchmarks (BENCH=pattern)
	go test -run '^$$' -bench '$(BENCH)' -benchmem ./...

.PHONY: benchstat
benchstat: ## Go benchmarks of commit OLD (main) beside those here (BENCH=pattern PKG=./budget/...)
	BENCH='$(BENCH)' PKG='$(PKG)' e2e/bench/benchstat.sh $(OLD)

.PHONY: accuracy
accuracy: ## docs/accuracy.md, from the recorded traffic beside the repository
	go test ./pricing/tokens -run '^TestAccuracy$$' -count 1 -update
	go test ./filter/metering -run '^TestAccuracy$$' -count 1 -update

.PHONY: generate
generate: ## files that are written by programs: the price catalogue, the vocabularies
	go generate ./...
