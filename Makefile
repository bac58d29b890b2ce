# The front door. `make help` lists what there is.
#
# Quoted everywhere, since a checkout may lie at a path with spaces.

SHELL := /bin/bash
.DEFAULT_GOAL := help
.PHONY: help packages demo up down status build dev web fuzzers test unit fuzz chaos bench bench-platform bench-gateway \
	lint fmt asan tsan check clean

JOBS ?= $(shell nproc)

# What deploy/local/install brings for the targets that were asked for.
PACKAGES := $(or $(if $(filter lint fmt check,$(MAKECMDGOALS)),lint),\
	$(if $(filter dev fuzzers test unit fuzz chaos bench bench-platform bench-gateway asan tsan,$(MAKECMDGOALS)),test),run)

help: ## What can be made
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

demo: build web ## Install, build, start the stack, train a real network through it, print where everything is
	@deploy/local/stack demo

up: build web ## Start the stack (what `make down` stopped comes back with nothing lost)
	@deploy/local/stack up

down: ## Stop the stack
	@deploy/local/stack down

status: ## What runs, and where its logs are
	@deploy/local/stack status

packages:
	@deploy/local/install $(PACKAGES)

build: packages ## The release build, which the stack runs
	@printf '==> Building the services, the worker and the command line\n'
	@cmake --preset release >/dev/null
	@cmake --build --preset release -j $(JOBS) -- --quiet

web: packages ## The dashboard, into web/dist
	@deploy/local/build-web

dev: packages ## The development build: warnings are errors
	@cmake --preset dev >/dev/null
	@cmake --build --preset dev -j $(JOBS) -- --quiet

fuzzers: packages
	@cmake --preset fuzz >/dev/null
	@cmake --build --preset fuzz -j $(JOBS) --target fuzzers -- --quiet

test: dev build web fuzzers ## Every test: unit, integration, dashboard, end to end; ends with "N passed, N failed"
	@tests/run

unit: dev ## Only the unit tests
	@tests/run unit

fuzz: fuzzers ## The fuzzers, a minute each; SECONDS_EACH=600 for longer
	@tests/fuzz/run --seconds $(or $(SECONDS_EACH),60)

chaos: build ## Faults against a real stack while 200 jobs run: what is lost, how long until it goes on
	@tests/chaos/run

bench: build ## Performance, as ratios against named peers measured in the same run
	@tests/bench/run

bench-platform: build ## The scheduler: placements a second, submit to offer, cost by the length of the queue
	@cmake --build --preset release -j $(JOBS) --target platform_bench -- --quiet
	@CYX_TEST_DURABLE=1 tests/support/servers build/release/tests/platform_bench

bench-gateway: build ## The gateway: GET of a job against nginx in the same run, 5,000 WebSockets on one job
	@/usr/bin/python3 -B tests/bench/gateway_bench.py

lint: dev web ## Format, static analysis, layering, types
	@tests/support/lint

fmt: packages ## Format the C sources in place
	@git ls-files '*.c' '*.h' | tr '\n' '\0' | xargs -0 clang-format -i

# Software Vulkan takes most of the time under a sanitizer: RUNNERS=cpu leaves it out of the engine's tests, and
# RUNNERS=vulkan/registers or vulkan/shared is one of its two tilings alone. MATCH=text: the tests whose name holds it.
sanitized = $(if $(RUNNERS),CYXWIZ_RUNNERS='$(RUNNERS)') tests/run unit $(if $(MATCH),--match '$(MATCH)') --preset

asan: packages ## Unit tests under the address and undefined-behaviour sanitizers; RUNNERS=cpu MATCH=text for a part
	@cmake --preset asan >/dev/null
	@cmake --build --preset asan -j $(JOBS) -- --quiet
	@$(sanitized) asan

tsan: packages ## Unit tests under the thread sanitizer; RUNNERS and MATCH as above
	@cmake --preset tsan >/dev/null
	@cmake --build --preset tsan -j $(JOBS) -- --quiet
	@$(sanitized) tsan

check: lint test ## What CI runs

clean: ## Remove what was built (not .cyxwiz, which holds the stack's data)
	rm -rf build web/dist artifacts
