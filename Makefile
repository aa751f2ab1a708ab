# Everything a developer does here, by name; `make` alone lists it.
#
# There is one build profile: release. Tests, bench and demo run what users run.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

CARGO ?= cargo
# The tests need the failure points; nothing that is shipped or measured has them.
TEST_FEATURES := --features greenroom/failpoints
ARGS ?=

# What the dashboard is made of, so that it is built again when that has changed.
DASHBOARD := dashboard/dist/index.html
DASHBOARD_SOURCES := $(shell find dashboard/src dashboard/public dashboard/scripts -type f 2>/dev/null) \
  $(wildcard dashboard/*.json dashboard/*.ts dashboard/index.html)

.PHONY: help dashboard build demo test test-agents test-tools schemathesis bench leaks soak lint openapi demo-ai

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' Makefile

dashboard: $(DASHBOARD) ## Build the dashboard, which the binary then holds: dashboard/dist

# Not by `npm ci`: that wants packages of other platforms in the lock file, which not every
# registry has. What is in it is pinned by `install` as well.
dashboard/node_modules/.package-lock.json: dashboard/package-lock.json
	@command -v npm >/dev/null || { echo 'error: the dashboard is built by npm' >&2; echo 'hint: apt-get install nodejs npm; cargo build alone makes a binary without it' >&2; exit 1; }
	cd dashboard && npm install --no-save --ignore-scripts --no-audit --no-fund --loglevel=error

$(DASHBOARD): dashboard/node_modules/.package-lock.json $(DASHBOARD_SOURCES)
	npm run --silent --prefix dashboard build

build: $(DASHBOARD) ## Build the binary: target/release/greenroom
	$(CARGO) build --release --locked -p greenroom

demo: build ## Start an agent, watch it, stop it for certain, resume it (ARGS=--exit: end afterwards)
	@demo/run.sh $(ARGS)

demo-ai: build ## Talk with a small real model on this machine, stopped and resumed in between
	@demo/ai.sh

test-tools:
	@.ci/test-tools

test: test-tools $(DASHBOARD) ## Run every test: unit, model, conformance, end to end, documentation, fuzzed API, dashboard
	npm run --silent --prefix dashboard check
	$(CARGO) build --release --locked --workspace --bins --tests $(TEST_FEATURES)
	$(CARGO) nextest run --release --locked --workspace --no-fail-fast $(TEST_FEATURES)
	$(CARGO) test --release --locked --workspace --doc $(TEST_FEATURES)
	tests/schemathesis/run.sh
	dashboard/e2e/run.sh

test-agents: test-tools ## Run the presets whose agents are too large for every test run
	@tests/tools/install agents
	$(CARGO) build --release --locked -p greenroom --features failpoints
	$(CARGO) nextest run --release --locked -p greenroom-tests --features agents --test all_agents

schemathesis: test-tools ## Fuzz the live API against its own document (EXAMPLES=100, SEED=random)
	$(CARGO) build --release --locked -p greenroom --features failpoints
	tests/schemathesis/run.sh

bench: build ## Measure the figures beside their floors (ARGS="--only stop --quick")
	$(CARGO) build --release --locked -p greenroom-bench
	target/release/bench --greenroom target/release/greenroom $(ARGS)

leaks: build ## Count what real agents leave running, alone and under Greenroom; bench/leaks/ (ARGS="codex pi")
	@tests/tools/install agents
	$(CARGO) build --release --locked -p greenroom-tests --bin leaks
	GREENROOM_BIN="$(CURDIR)/target/release/greenroom" target/release/leaks "$$(date +%F)" bench/leaks $(ARGS)

soak: test-tools ## Run the tests with their full counts; the result goes to bench/soak/
	$(CARGO) build --release --locked --workspace --bins --tests $(TEST_FEATURES)
	bench/soak/run.sh $(TEST_FEATURES)

lint: ## Check format, lints and file length
	$(CARGO) fmt --all --check
	$(CARGO) clippy --release --locked --workspace --all-targets $(TEST_FEATURES) -- -D warnings
	@.ci/file-length

openapi: ## Write docs/openapi.json anew
	UPDATE=1 $(CARGO) nextest run --release --locked -p greenroom-coordinator -E 'binary(openapi)'
