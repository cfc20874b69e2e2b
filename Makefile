# Every target does its own set-up: a Python environment from uv.lock, and, once, the control plane's binaries.
# uv is taken from PATH, or installed into a cache outside the checkout.

CACHE := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/btp-manager
UV_VERSION := 0.13.9
UV := $(or $(shell command -v uv 2>/dev/null),$(CACHE)/uv-$(UV_VERSION)/bin/uv)
export UV
RUN := $(UV) run --frozen --quiet
# Compiled modules are kept, as in the image: without them each process that a test starts compiles 1,300 modules first.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help demo values wheel screens screenshots record chaos up down test test-long test-load test-all test-node test-compose test-oldest test-python unit coverage lint format types docs check audit uv.txt bench bench-start bench-provision bench-deprovision bench-secrets bench-slow-broker bench-operators bench-fleet binaries long-binaries image soak compare-upstream module release

help: ## say what there is
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/' | expand -t 20

demo: $(UV) ## tell the whole story on a real control plane
	@$(RUN) python -m localcluster.demo

image: $(UV) ## build the image btp-manager:local with docker, podman or buildah; weigh it
	@$(RUN) python -m localcluster.image

values: $(UV) ## write docs/values.md and the schema of the chart's settings, after a value or a setting changed
	@$(RUN) python -m localcluster.chartvalues

compare-upstream: binaries ## CHART=FOLDER: in what a newer chart of the operand differs from ours
	@$(RUN) python -m localcluster.upstream $(CHART) $(ARGS)

module: binaries ## write module/ for Kyma's lifecycle-manager; ARGS="--base URL --set image.repository=..." as in `helm template`
	@$(RUN) python -m localcluster.module $(ARGS)

release: $(UV) ## write dist/ from the tag of this version; ARGS="--snapshot" without one, else as `make module`
	@$(RUN) python -m localcluster.distribution $(ARGS)

record: binaries ## record the histories that replay tests use, after a workflow got a new path
	@$(RUN) python -m tests.replay.record $(ARGS)

chaos: binaries ## every fault against every story; writes the tables in docs/reliability.md (over an hour)
	@$(RUN) python -m tests.chaos $(ARGS)

wheel: $(UV) ## build btpctl for a laptop: dist/btp_manager-*.whl, for `pipx install` or `uv tool install`
	@$(UV) build --quiet --wheel --out-dir dist

screens: $(UV) ## draw what btpctl shows, for docs/pictures
	@$(RUN) python -m localcluster.screens

soak: binaries ## an hour of small troubles, with memory and sockets counted; writes the table in docs/reliability.md
	@$(RUN) python -m tests.chaos.soak $(ARGS)

screenshots: binaries ## photograph Temporal's UI in headless Chromium, for docs/pictures
	@$(UV) run --quiet --locked --group pictures python -m localcluster.screenshots

up: $(UV) ## start everything and keep it running
	@$(RUN) python -m localcluster.up up

down: $(UV) ## end what `make up` started
	@$(RUN) python -m localcluster.up down

# Tests wait for servers most of the time, so two files run at once. A file's tests share its servers, and stay together.
PARALLEL := --numprocesses 2 --dist loadfile

test: binaries ## the tests, on real servers; ARGS="-n0 tests/unit" runs a part, one after the other
	@$(RUN) pytest $(PARALLEL) $(ARGS)

test-long: long-binaries ## the tests that take long: chaos, deadlines that pass, many environments (half an hour)
	@$(RUN) pytest $(PARALLEL) -m "long and not load" $(ARGS)

test-load: long-binaries ## those that fill the machine, one after the other: huge objects, thousands of them, a short soak
	@$(RUN) pytest -n0 -m load $(ARGS)

test-all: test test-long test-load ## every test

unit: $(UV) ## the tests that need no server and no built program
	@$(RUN) pytest -n0 -q tests/unit $(ARGS)

# What the coverage is of, and the folders that run this code in the tests' own process, tests that take long included.
# Worker and trigger as processes of their own (tests/e2e, tests/chaos) are not measured: what only they reach counts as
# not covered.
MEASURED := workflows activities operand kube trigger
MEASURING := tests/unit tests/chart tests/workflows tests/activities tests/trigger tests/reclaim tests/replay tests/runtime

test-node: $(UV) ## the image and the chart on a real node (root, containerd and more: it says what is missing)
	@$(RUN) python -m localcluster.testnode $(ARGS)

test-compose: $(UV) ## docker-compose.yml with an engine of its own (root, docker.io and more: it says what is missing)
	@$(RUN) python -m localcluster.testcompose $(ARGS)

test-oldest: $(UV) ## the story on the oldest Kubernetes and Temporal that docs/limits.md names, built once from Go modules
	@$(RUN) python -m localcluster.oldest $(ARGS)

# What meets Python itself: TLS, the event loop, the texts of exceptions. Empty: the image's Python.
PYTHON :=
ON_PYTHON := tests/unit tests/replay tests/activities $(patsubst %,tests/runtime/test_%.py,cluster_credentials cluster_trust temporal_credentials token_url)

test-python: binaries ## unit and activity tests on the image's Python; PYTHON=3.14, or a path: on another one
	@$(RUN) python -m localcluster.otherpython "$(PYTHON)" $(PARALLEL) -q $(or $(ARGS),$(ON_PYTHON))

coverage: long-binaries ## which lines and branches of the manager no test reaches, by file (a quarter of an hour or more)
	@$(RUN) pytest $(PARALLEL) -q -m "not load" $(MEASURED:%=--cov=%) --cov-branch --cov-report=term-missing:skip-covered $(or $(ARGS),$(MEASURING))

binaries: $(UV)
	@$(RUN) python -m localcluster.binaries

long-binaries: binaries
	@$(RUN) python -m localcluster.binaries --long

check: lint types docs ## everything that needs no server, the unit tests aside

docs: $(UV) ## what the pages say of commands, settings, files, reasons and one another
	@$(RUN) pytest -n0 -q tests/unit/test_docs.py tests/unit/test_values.py

lint: $(UV) ## style, imports, declared dependencies, licenses, Dockerfile, docker-compose.yml, workflows of GitHub
	@$(RUN) ruff format --check .
	@$(RUN) ruff check .
	@$(RUN) lint-imports
	@$(RUN) deptry .
	@$(RUN) python -m localcluster.licenses
	@$(RUN) hadolint Dockerfile
	@$(RUN) check-jsonschema --builtin-schema vendor.compose-spec docker-compose.yml
	@actionlint=$$($(RUN) python -m localcluster.binaries actionlint) && $$actionlint -shellcheck= -pyflakes=

types: $(UV) ## mypy --strict
	@$(RUN) mypy

audit: $(UV) ## known weaknesses of all locked packages and Go modules, licenses of the image's Go modules; needs the internet
	@$(RUN) python -m localcluster.audit $(ARGS)

format: $(UV) ## put the code into its shape
	@$(RUN) ruff format .
	@$(RUN) ruff check --fix .

bench: binaries ## a small run of what people wait for, beside stored figures; ARGS=--store keeps those of this run
	@$(RUN) python -m benchmarks.small $(ARGS)

bench-start: binaries ## where the time of a start goes, and what idle processes weigh
	@$(RUN) python -m benchmarks.start $(ARGS)

bench-provision: binaries ## how long until Ready, and where the time goes
	@$(RUN) python -m benchmarks.provision $(ARGS)

bench-deprovision: binaries ## how long a deletion takes, by number of objects
	@$(RUN) python -m benchmarks.deprovision $(ARGS)

bench-secrets: binaries ## soft delete's Secrets: removed by the worker, or by the garbage collector
	@$(RUN) python -m benchmarks.secrets $(ARGS)

bench-slow-broker: binaries ## hard delete with a slow broker, by this checkout and an earlier commit
	@$(RUN) python -m benchmarks.slow_broker $(ARGS)

bench-operators: binaries ## what 200 and 1,000 BtpOperators cost, of which one is responsible
	@$(RUN) python -m benchmarks.operators $(ARGS)

bench-fleet: binaries ## several clusters on one Temporal server; needs PostgreSQL installed
	@$(RUN) python -m benchmarks.fleet $(ARGS)

$(CACHE)/uv-$(UV_VERSION)/bin/uv:
	@echo "installing uv $(UV_VERSION) into $(CACHE) ..."
	@python3 -m venv "$(CACHE)/uv-$(UV_VERSION)"
	@"$(CACHE)/uv-$(UV_VERSION)/bin/pip" --quiet --disable-pip-version-check install --require-hashes --requirement uv.txt

uv.txt: ## lock uv itself, after UV_VERSION changed
	@echo "uv==$(UV_VERSION)" | $(UV) pip compile --quiet --generate-hashes --universal --no-annotate \
		--custom-compile-command "make uv.txt" --output-file uv.txt -
