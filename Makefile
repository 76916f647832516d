# The commands of the project. Only what must happen before a Rust binary can run stands here:
# packages to build with, the toolchain. Everything else is kubeforge (deploy/) or cargo.

SHELL := /bin/bash
.SHELLFLAGS := -o pipefail -c
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

# What the project is built and tested with; a machine that has a toolchain keeps its own.
RUST_VERSION := $(shell sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml)

.PHONY: toolchain
toolchain:
	@missing=""; \
	for pair in curl:curl gcc:gcc ld:binutils make:make git:git ps:procps; do \
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
		set -e; \
		echo "installing the Rust toolchain with rustup"; \
		url=https://static.rust-lang.org/rustup/dist/$$(uname -m)-unknown-linux-gnu/rustup-init; \
		folder=$$(mktemp -d); trap 'rm -rf "$$folder"' EXIT; cd $$folder; \
		curl --proto '=https' --tlsv1.2 -sSf -O $$url; \
		[ "$$(sha256sum <rustup-init | cut -c1-64)" = "$$(curl --proto '=https' --tlsv1.2 -sSf $$url.sha256 | cut -c1-64)" ] || \
			{ echo "$$url does not have the checksum that stands beside it" >&2; exit 1; }; \
		chmod +x rustup-init; ./rustup-init -y -q --no-modify-path --profile minimal --default-toolchain $(RUST_VERSION); \
	}

# The client. A cluster runs without it, so a machine that cannot reach its site is told, no more.
KUBECTL_URL ?= https://dl.k8s.io/release/v1.36.2/bin/linux/$(subst aarch64,arm64,$(subst x86_64,amd64,$(shell uname -m)))/kubectl

.PHONY: kubectl
kubectl: toolchain
	@command -v kubectl >/dev/null || [ "$$(id -u)" != 0 ] || { \
		echo "installing kubectl"; \
		file=$$(mktemp); trap 'rm -f "$$file"' EXIT; \
		if ! curl -sSfL -m 300 -o $$file $(KUBECTL_URL) || ! sum=$$(curl -sSfL -m 60 $(KUBECTL_URL).sha256); then \
			echo "kubectl could not be downloaded: install it by hand (https://kubernetes.io/docs/tasks/tools)" >&2; \
		elif [ "$$(sha256sum <$$file | cut -c1-64)" != "$$(cut -c1-64 <<<$$sum)" ]; then \
			echo "$(KUBECTL_URL) does not have the checksum that stands beside it" >&2; exit 1; \
		else \
			install -m 755 $$file /usr/local/bin/kubectl; \
		fi; \
	}

# What runs on every node, in a profile of its own (decision 15), beside the others in the end.
NODE_PROGRAMS := kubelet kube-proxy cluster-dns

.PHONY: build
build: toolchain ## Build all binaries, optimized
	$(CARGO) build --release --locked --workspace --bins $(NODE_PROGRAMS:%=--exclude %)
	$(CARGO) build --profile node --locked $(NODE_PROGRAMS:%=--package %) --bins
	@ln -f $(NODE_PROGRAMS:%=$(TARGET_DIR)/node/%) $(TARGET_DIR)/release/

.PHONY: cluster
cluster: build kubectl ## Start a cluster on this machine; safe to repeat
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

# The tests in tests/cluster, tests/survival, tests/leaks and tests/restart are run against a cluster that is made for them, in a
# network namespace of its own beside any cluster of this machine, and taken away afterwards.
TEST_DIR ?= /tmp/ferrokube-test
TEST_FORGE := $(TARGET_DIR)/debug/kubeforge
CLUSTER_TESTS := --package ferrokube-tests --offline --no-fail-fast
RUN_TESTS := $(if $(shell PATH="$(PATH)" command -v cargo-nextest),nextest run,test)

.PHONY: test
test: toolchain kubectl ## Run all tests, those with real containers included (as root)
	$(CARGO) build --locked --workspace --bins
	$(CARGO) $(RUN_TESTS) --locked --workspace --no-fail-fast
	@$(MAKE) --no-print-directory test-cluster

.PHONY: test-cluster
test-cluster: ## Run the tests that need a running cluster
	@[ "$$(id -u)" = 0 ] || { echo "skipped: the cluster tests need root"; exit 0; }; \
	command -v kubectl >/dev/null || { echo "skipped: the cluster tests need kubectl"; exit 0; }; \
	run() { $(TEST_FORGE) cluster run --dir $(TEST_DIR) -- $(CARGO) $(RUN_TESTS) $(CLUSTER_TESTS) --test $$1; }; \
	$(TEST_FORGE) cluster up --dir $(TEST_DIR) --netns ferrokube-test && \
	$(TEST_FORGE) image busybox --dir $(TEST_DIR) && \
	run cluster && run survival && run leaks && run restart && run nodes; \
	status=$$?; \
	if [ $$status != 0 ]; then \
		for daemon in kube-apiserver kube-controller-manager kube-scheduler kubelet kube-proxy kvstore; do \
			echo "--- the last lines of $$daemon"; $(TEST_FORGE) cluster logs --dir $(TEST_DIR) $$daemon -n 20; \
		done; \
	fi; \
	$(TEST_FORGE) cluster purge --dir $(TEST_DIR) || status=1; \
	exit $$status

FUZZ_SECONDS ?= 60
FUZZ := $(CARGO) +nightly fuzz

.PHONY: fuzz
fuzz: toolchain ## Fuzz what reads clients' bytes, each decoder for FUZZ_SECONDS=60
	@command -v cargo-fuzz >/dev/null || $(CARGO) install --locked --quiet cargo-fuzz
	@$(CARGO) +nightly --version >/dev/null 2>&1 || rustup toolchain install nightly --profile minimal
	@set -e; for target in $$($(FUZZ) list --fuzz-dir tests/fuzz); do \
		echo "fuzzing $$target for $(FUZZ_SECONDS) s"; \
		$(FUZZ) run --fuzz-dir tests/fuzz --sanitizer none $$target -- -max_total_time=$(FUZZ_SECONDS) -max_len=4096 -timeout=10 -rss_limit_mb=1024 -verbosity=0 -print_final_stats=1; \
	done

.PHONY: bench-store
bench-store: toolchain ## Measure kvstore beside etcd (BENCH_FLAGS="--small 100000" …; --help says more)
	$(CARGO) bench --locked --package kvstore --bench store -- $(BENCH_FLAGS)

.PHONY: bench-api
bench-api: toolchain ## Measure kube-apiserver, beside another: BENCH_FLAGS="--server upstream=PATH" …; --help says more
	$(CARGO) build --locked --release --package apiserver --package kvstore
	$(CARGO) bench --locked --package ferrokube-tests --bench api -- --store $(TARGET_DIR)/release/kvstore \
		--server ours=$(TARGET_DIR)/release/kube-apiserver $(BENCH_FLAGS)

.PHONY: verify
verify: toolchain ## Check format, lints, dependencies and structure; writes nothing
	$(CARGO) fmt --all --check
	$(CARGO) clippy --locked --workspace --all-targets -- -D warnings
	$(CARGO) test --locked --quiet --package ferrokube-tests --test structure
	@if ! command -v cargo-deny >/dev/null; then \
		echo "skipped: cargo-deny is not installed (cargo install --locked cargo-deny)"; \
	elif curl -sfI -m 10 https://github.com/rustsec/advisory-db >/dev/null; then \
		set -x; $(CARGO) deny --locked check; \
	elif ls -d $(HOME)/.cargo/advisory-dbs/*/crates >/dev/null 2>&1; then \
		set -x; $(CARGO) deny --locked --offline check; \
	else \
		echo "skipped: advisories, which need the network"; \
		set -x; $(CARGO) deny --locked check bans licenses sources; \
	fi

.PHONY: fix
fix: toolchain ## Format, and apply what clippy can
	$(CARGO) clippy --workspace --all-targets --fix --allow-dirty --allow-staged
	$(CARGO) fmt --all
