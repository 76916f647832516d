# The commands of the project. Only what must happen before a Rust binary can run stands here:
# packages to build with, the toolchain. Everything else is kubeforge (deploy/) or cargo.

SHELL := /bin/bash
.DEFAULT_GOAL := help

# cargo, wherever rustup put it.
export PATH := $(PATH):$(HOME)/.cargo/bin
CARGO ?= cargo
TARGET_DIR := $(if $(CARGO_TARGET_DIR),$(CARGO_TARGET_DIR),$(CURDIR)/target)
# Where the cluster lives; CLUSTER_FLAGS go to `kubeforge cluster up`.
CLUSTER_DIR ?= $(CURDIR)/.cluster
CLUSTER_FLAGS ?=
KUBEFORGE := $(TARGET_DIR)/release/kubeforge

.PHONY: help
help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-16s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: toolchain
toolchain:
	@missing=""; \
	for pair in curl:curl gcc:gcc ld:binutils make:make git:git; do \
		command -v $${pair%%:*} >/dev/null || missing="$$missing $${pair##*:}"; \
	done; \
	[ -e /usr/include/stdlib.h ] || missing="$$missing libc6-dev"; \
	[ -e /etc/ssl/certs/ca-certificates.crt ] || missing="$$missing ca-certificates"; \
	if [ -n "$$missing" ]; then \
		[ "$$(id -u)" = 0 ] || { echo "missing Debian packages:$$missing (install them as root)" >&2; exit 1; }; \
		echo "installing Debian packages:$$missing"; \
		apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $$missing >/dev/null; \
	fi
	@command -v $(CARGO) >/dev/null || { \
		echo "installing the Rust toolchain with rustup"; \
		curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs | sh -s -- -y -q --no-modify-path --profile minimal; \
	}

.PHONY: build
build: toolchain ## Build all binaries, optimized
	$(CARGO) build --release --locked --workspace --bins

.PHONY: cluster
cluster: build ## Start a cluster on this machine; safe to repeat
	$(KUBEFORGE) cluster up --dir $(CLUSTER_DIR) $(CLUSTER_FLAGS)

.PHONY: cluster-down
cluster-down: ## Stop the cluster, keep its data
	$(KUBEFORGE) cluster down --dir $(CLUSTER_DIR)

.PHONY: cluster-purge
cluster-purge: ## Stop the cluster, delete its data
	$(KUBEFORGE) cluster purge --dir $(CLUSTER_DIR)

.PHONY: cluster-status
cluster-status: ## Show the cluster's daemons
	$(KUBEFORGE) cluster status --dir $(CLUSTER_DIR)

# The tests of the daemons as processes, and the cluster of the walk, run the binaries of the same
# profile. The walk has a cluster of its own, beside a user's: other ports, other addresses.
TEST_CLUSTER := /tmp/ferrokube-test-cluster
TEST_FLAGS := --port-base 26440 --pod-cidr 10.245.0.0/16 --service-cidr 10.97.0.0/16
DEBUG_KUBEFORGE := $(TARGET_DIR)/debug/kubeforge
RUN_TESTS := $(if $(shell command -v cargo-nextest),$(CARGO) nextest run --no-fail-fast,$(CARGO) test --no-fail-fast) --locked

.PHONY: test
test: test-crates test-cluster ## Run all tests, those with real containers included (as root)

.PHONY: test-crates
test-crates: toolchain ## Run the tests that need no cluster
	$(CARGO) build --locked --workspace --bins
	$(RUN_TESTS) --workspace

.PHONY: test-cluster
test-cluster: toolchain ## Run the walk of a user through a cluster of its own, then kill -9 all daemons in turn
	$(CARGO) build --locked --workspace --bins
	$(CARGO) test --locked --no-run --package ferrokube-tests
	@trap '$(DEBUG_KUBEFORGE) cluster purge --dir $(TEST_CLUSTER)' EXIT; set -ex; \
	$(DEBUG_KUBEFORGE) cluster purge --dir $(TEST_CLUSTER); \
	$(DEBUG_KUBEFORGE) cluster up --dir $(TEST_CLUSTER) $(TEST_FLAGS); \
	$(DEBUG_KUBEFORGE) image busybox --dir $(TEST_CLUSTER); \
	export FERROKUBE_CLUSTER_DIR=$(TEST_CLUSTER) FERROKUBE_KUBEFORGE=$(DEBUG_KUBEFORGE); \
	$(RUN_TESTS) --package ferrokube-tests --test cluster; \
	$(RUN_TESTS) --package ferrokube-tests --test survival

.PHONY: verify
verify: toolchain ## Check format, lints, dependencies and structure; writes nothing
	$(CARGO) fmt --all --check
	$(CARGO) clippy --locked --workspace --all-targets -- -D warnings
	$(CARGO) test --locked --quiet --package ferrokube-tests --test structure
	@if ! command -v cargo-deny >/dev/null; then \
		echo "skipped: cargo-deny is not installed (cargo install --locked cargo-deny)"; \
	elif [ -d "$(HOME)/.cargo/advisory-dbs" ] || curl -sfI -m 10 https://github.com/rustsec/advisory-db >/dev/null; then \
		set -x; $(CARGO) deny --locked check; \
	else \
		echo "skipped: advisories, which need the network"; \
		set -x; $(CARGO) deny --locked check bans licenses sources; \
	fi

.PHONY: fix
fix: toolchain ## Format, and apply what clippy can
	$(CARGO) clippy --workspace --all-targets --fix --allow-dirty --allow-staged
	$(CARGO) fmt --all
