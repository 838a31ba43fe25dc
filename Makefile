# Two commands matter: `make run` starts a server, `make test` checks everything.
# Both set up what they need on a machine that has git, make, and the Rust and Node toolchains; what else
# they need (a C compiler, curl, jq) they install from Debian's packages where it is missing.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

# One folder of build results for every target here; set CARGO_TARGET_DIR to share it further.
export CARGO_TARGET_DIR ?= $(CURDIR)/target
LISTEN ?= 127.0.0.1:7300
DATA ?= ./chirm-data
CHIRM := $(CARGO_TARGET_DIR)/quick/chirm

.PHONY: help needs run build test fmt lint docs proto supply unit typescript readme replay conformance mutations real wire model
.PHONY: stack-up stack-down stack stack-faults

help: ## Say what there is
	@sed -n 's/^\([a-z-]*\):.*## /make \1\t/p' Makefile | expand -t 18

# Three dependencies (ring, SQLite, mimalloc) are built with a C compiler; README's tours call curl and jq.
needs:
	@tools/needs.sh cc=gcc,libc6-dev curl=curl jq=jq

build: needs ## Build the server for use (optimised, without the slow last steps of a release)
	@cargo build --profile quick --bin chirm

run: build ## Start a server at 127.0.0.1:7300, its data in ./chirm-data
	@tools/next-steps.sh "$(LISTEN)" "$(DATA)" "$(CHIRM)"
	@exec "$(CHIRM)" serve --listen "$(LISTEN)" --data "$(DATA)"

test: needs fmt proto lint docs supply unit typescript readme replay conformance mutations real ## Check everything
	@echo "make test: everything passed"

fmt: ## Formatting of the Rust code
	cargo fmt --all --check

lint: ## clippy on everything, warnings refused
	cargo clippy --workspace --all-targets -- -D warnings

docs: ## The code's documentation builds without a warning
	RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --quiet

proto: ## buf: lint, format, breaking changes against main
	tools/buf.sh

supply: ## Bans, licences and sources of the dependencies; unused ones
	tools/supply.sh

unit: ## All tests of the workspace
	cargo test --workspace

typescript: ## The TypeScript client: generated code, types, tests with a real server and in a browser
	@tools/needs.sh chromium=chromium || echo "SKIPPED: chromium can't be installed: no tests in a browser" >&2
	tools/programs.sh
	tools/ts.sh
	tools/web.sh

readme: ## README's tours by REST and of a back end, run as they stand there
	tools/readme.sh

replay: ## A sample of a real conversation, with watchers cut and the server killed
	tools/replay-sample.sh

conformance: ## The conformance suite against the server, over every carrier
	conformance/run.sh

real: ## Suites, tests over sockets and replay on real Postgres, Redis, NATS and CQL servers, which it starts and ends
	tools/real.sh

wire: ## connectrpc's conformance runner against our server stack, and h2spec (by hand: needs Go)
	tools/wire.sh

model: ## The model of the send path at its larger bounds: some fifty million states, six to ten minutes on two cores
	cargo run --quiet --release -p chirm-model

mutations: ## The replay's checker, and the conformance suite, catch each of their deliberate bugs
	bench/checker-fails.sh
	conformance/mutations.sh

stack: ## The same and the conformance suite; the servers stay
	tools/stack-tests.sh

stack-faults: ## Break the real servers under a replay, and say how long each fault took to recover from: some 30 minutes
	tools/stack-faults.sh

stack-up: ## Start real Postgres, Redis (one, and a cluster of six), NATS and a CQL server for tests, on free ports
	tools/stack.sh up

stack-down: ## End the servers that stack-up started; their data stays
	tools/stack.sh down
