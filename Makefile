# make help lists the targets.

GO       ?= go
VERSION  ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
LDFLAGS  := -X main.version=$(VERSION)
# The metrics need no HTTP/2, and NATS none: without it the agent takes half a megabyte less.
TAGS     := nethttpomithttp2
PACKAGES := ./...
# Packages whose tests change the kernel's one limit, or must be alone to be in time: they are run one after the other.
ALONE    := /(cmd/ctwarden|watcher|internal/(agent|e2e|tcppeer|testkernel)|remediate/(apply|conntrack))$$
# Test programs that no shipped program imports; ./... leaves testdata out.
TESTPROGRAMS := ./testdata/flood ./testdata/demo ./testdata/refused
# A program with the race detector in it sleeps for a second at its end, and the tests end hundreds.
export GORACE := atexit_sleep_ms=20 $(GORACE)
STATICCHECK  := honnef.co/go/tools/cmd/staticcheck@v0.8.2

.PHONY: help
help: ## list the targets
	@grep -hE '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## */\t/' | awk -F'\t' '{printf "  make %-14s %s\n", $$1, $$2}'

.PHONY: build
build: ## build both programs into bin/
	@scripts/setup.sh build
	@mkdir -p bin
	$(GO) build -trimpath -tags $(TAGS) -ldflags '$(LDFLAGS)' -o bin/ ./cmd/ctwarden ./cmd/ctwarden-hub

.PHONY: run
run: ## watch this host in observe mode, with a NATS server of its own; Ctrl-C ends it
	@scripts/setup.sh run
	@$(MAKE) --no-print-directory -s build
	@scripts/run.sh

.PHONY: demo
demo: ## fill a scratch namespace on this kernel and watch ctwarden raise the limit; all is put back (root)
	@scripts/setup.sh run
	@$(MAKE) --no-print-directory -s build
	@$(GO) build -o bin/ ./testdata/demo
	@bin/demo

.PHONY: test
test: ## set up what the tests need and run them all (as root also those on the real kernel)
	@scripts/setup.sh test
	@mkdir -p bin && rm -f bin/promises
	@# Both parts run, whatever the first one says.
	@export CTWARDEN_PROMISES=$(CURDIR)/bin/promises CTWARDEN_TEST_REQUIRE=$(REQUIRE); status=0; \
	$(GO) test $(RACE) -count 1 -p 2 -timeout 30m $$($(GO) list $(PACKAGES) $(TESTPROGRAMS) | grep -vE '$(ALONE)') || status=1; \
	$(GO) test $(RACE) -count 1 -p 1 -timeout 30m $$($(GO) list $(PACKAGES) | grep -E '$(ALONE)') || status=1; \
	exit $$status
	@[ ! -e bin/promises ] || { echo "promises of RELIABILITY.md, as seen in this run:"; sort -V bin/promises; }

.PHONY: test-loaders
test-loaders: ## read sysctl.d as systemd and procps of other Debian releases really do (root, apt)
	@scripts/setup.sh test
	CTWARDEN_OTHER_ROOTS=$$(scripts/loader-roots.sh $(CURDIR)/bin/loaders bullseye trixie) \
		$(GO) test -count 1 -run TestAsOtherReleasesDo ./remediate/sysctld

.PHONY: torture
torture: ## break things and print what each promise held (root); LONG=1: for hours; ONLY=Name: one test
	@scripts/setup.sh $(if $(LONG),torture-long,test)
	@mkdir -p bin && rm -f bin/promises
	CTWARDEN_PROMISES=$(CURDIR)/bin/promises CTWARDEN_TORTURE_LONG=$(LONG) CTWARDEN_TEST_REQUIRE=1 \
		$(GO) test $(RACE) -count 1 -p 1 -timeout 6h -run 'TestPromise.*$(ONLY)' $(PACKAGES)
	@[ -z "$(LONG)" ] || [ -n "$(ONLY)" ] || CTWARDEN_PROMISES=$(CURDIR)/bin/promises GO="$(GO)" scripts/fuzz.sh $(or $(FUZZTIME),2m)
	@sort -V bin/promises

.PHONY: e2e-kernels
e2e-kernels: ## boot the kernels of four Debian releases under qemu, have them refuse, step, boot again (root); ONLY=trixie: one
	@scripts/setup.sh e2e-kernels
	@mkdir -p bin && rm -f bin/kernels
	CTWARDEN_KERNELS=$(CURDIR)/bin/kernels CTWARDEN_TEST_REQUIRE=1 \
		$(GO) test -count 1 -timeout 60m -run 'TestKernels/.*$(ONLY)' ./internal/e2e/kernels
	@sort bin/kernels

.PHONY: fuzz
fuzz: ## feed every parser and decoder with junk; FUZZTIME=2m: for each; ONLY=Name: one target
	@scripts/setup.sh build
	@GO="$(GO)" scripts/fuzz.sh $(or $(FUZZTIME),30s) $(ONLY)

.PHONY: lint
lint: ## gofmt, vet, staticcheck, and a build without cgo
	@scripts/setup.sh build
	@test -z "$$(gofmt -l . | tee /dev/stderr)" || { echo "lint: run gofmt -w on the files above" >&2; exit 1; }
	$(GO) vet $(PACKAGES) $(TESTPROGRAMS)
	CGO_ENABLED=0 $(GO) vet ./watcher ./cmd/ctwarden
	$(GO) run $(STATICCHECK) $(PACKAGES) $(TESTPROGRAMS)

.PHONY: check
check: lint ## what CI runs: lint, then make test under the race detector
	@$(MAKE) --no-print-directory test RACE=-race

.PHONY: bench
bench: ## the benchmarks behind the figures in README.md
	@scripts/setup.sh test
	$(GO) test -run '^$$' -bench . -benchmem ./watcher ./remediate/... ./internal/replay ./internal/state ./notify/hub/web

.PHONY: bench-refused
bench-refused: ## measure what a filling table refuses under ctwarden, other tools and none, against its goals (root; 30 min); RUNS=3 ROWS=regexp: less
	@scripts/setup.sh bench-refused
	@$(MAKE) --no-print-directory -s build
	@$(GO) build -o bin/ ./testdata/refused
	@bin/refused -runs '$(or $(RUNS),10)' -rows '$(ROWS)'

.PHONY: bench-idle
bench-idle: ## what the agent costs a host where nothing happens (root; half an hour); SECONDS=300; NAMESPACES="0 200"
	@scripts/setup.sh test
	@$(MAKE) --no-print-directory -s build
	@scripts/bench-idle.sh $(or $(SECONDS),300) $(NAMESPACES)

.PHONY: bench-hub
bench-hub: ## what a hub beside its NATS server takes: 10,000 hosts, its throughput, 100,000 hosts (10 min); ONLY=Storm: one
	@scripts/setup.sh build
	CTWARDEN_FIGURES=1 $(GO) test -v -count 1 -timeout 30m -run 'TestFigure.*$(ONLY)' ./cmd/ctwarden-hub

.PHONY: packages
packages: ## make the .deb and .rpm packages in dist/; VERSION=1.2.3, DIST=directory; NFPM_SIGNING_KEY_FILE=key signs them
	@scripts/setup.sh packages
	@VERSION='$(if $(filter file,$(origin VERSION)),,$(VERSION))' GO="$(GO)" TAGS="$(TAGS)" scripts/packages.sh $(or $(DIST),dist)

# What make e2e upgrades from: an earlier commit (scripts/older.sh) as a version below every other.
OLDER := 0.0.0~0.test

.PHONY: e2e
e2e: packages ## install, upgrade and remove the packages on real systems: systemd, rpm, three Debians, arm64 (root); ONLY=Name: one test
	@scripts/setup.sh e2e
	@ARCHES="$$($(GO) env GOHOSTARCH)" GO="$(GO)" TAGS="$(TAGS)" scripts/older.sh '$(OLDER)' bin/older
	CTWARDEN_PACKAGES=$(abspath $(or $(DIST),dist)) CTWARDEN_PACKAGES_OLD=$(CURDIR)/bin/older CTWARDEN_TEST_REQUIRE=1 \
		$(GO) test -v -count 1 -timeout 30m -run '$(ONLY)' ./internal/e2e/installed

.PHONY: packages-check
packages-check: packages ## make them, again elsewhere to compare, and signed; lintian, rpmlint, promtool, ansible; what is in them
	@scripts/setup.sh packages-check
	@GO="$(GO)" TAGS="$(TAGS)" scripts/packages-check.sh $(or $(DIST),dist)

.PHONY: clean
clean: ## remove what was built
	rm -rf bin dist
