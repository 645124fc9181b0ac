# Every task of the project. `make` alone lists them; `make demo` and `make test` need Python 3.11 and make, nothing else.

PYTHON ?= python3
VENV   ?= .venv
PORT   ?= 8000

PY  := $(VENV)/bin/python
# What `python -m mypy` and ruff look at; a folder joins when it appears.
TYPED := $(wildcard asgi_apikey benchmarks docs/examples)

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
# Targets share one environment; pip must not run twice in it at a time. (pytest and mypy are the slow part anyway.)
.NOTPARALLEL:
.PHONY: help demo test test-hosts host-packages check static lint types floors format bench fuzz faults pins clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

# ---- the two commands ----------------------------------------------------------------------------------------------

demo: $(VENV)/.run ## a guarded app on 127.0.0.1 and the life of a key (DEMO_ARGS=--once ends by itself; PORT=8000)
	$(PY) docs/examples/demo.py --port $(PORT) $(DEMO_ARGS)

# In a few processes, whole files each, since many tests wait for servers: TEST_ARGS='-n 0' for one.
test: $(VENV)/.test ## every test (TEST_ARGS='-k name' picks some)
	$(PY) -m pytest -n auto --maxprocesses 4 --dist loadfile $(TEST_ARGS)

# They find these programs on PATH, and fail where one is missing; .ci/run installs the packages that are named here.
HOST_PACKAGES := nginx pgbouncer systemd

host-packages:
	@echo $(HOST_PACKAGES)

test-hosts: $(VENV)/.test ## tests that need programs of the machine (Debian packages: make host-packages)
	$(PY) -m pytest -m hosts $(TEST_ARGS)

# ---- what a change has to pass -------------------------------------------------------------------------------------

check: test static ## test + static: what CI runs

static: lint types floors ## lint + types + floors

lint: $(VENV)/.dev ## formatting and lint (ruff)
	$(PY) -m ruff format --check .
	$(PY) -m ruff check .

types: $(VENV)/.dev ## mypy --strict
	$(PY) -m mypy --strict $(TYPED)

floors: $(VENV)/.dev ## imports only point down (import-linter)
	$(VENV)/bin/lint-imports --no-logo

format: $(VENV)/.dev ## rewrite the files as ruff likes them
	$(PY) -m ruff format .
	$(PY) -m ruff check --fix .

# ---- long runs -----------------------------------------------------------------------------------------------------

bench: $(VENV)/.dev ## the figures in docs/benchmarks (BENCH_ARGS=--json)
	$(PY) -m benchmarks.gate $(BENCH_ARGS)
	$(PY) -m benchmarks.cold $(BENCH_ARGS)
	$(PY) -m benchmarks.lag $(BENCH_ARGS)
	$(PY) -m benchmarks.transfer $(BENCH_ARGS)
	$(PY) -m benchmarks.repositories $(BENCH_ARGS)
	$(PY) -m benchmarks.search $(BENCH_ARGS)
	$(PY) -m benchmarks.revocation $(BENCH_ARGS)
	$(PY) -m benchmarks.management $(BENCH_ARGS)
	$(PY) -m benchmarks.growth $(BENCH_ARGS)

FUZZ_ROUNDS ?= 1000000
fuzz: $(VENV)/.test ## the long run of the tests marked `fuzz` (FUZZ_ROUNDS=1000000)
	$(PY) -m pytest -m fuzz --fuzz-rounds=$(FUZZ_ROUNDS) --hypothesis-profile=long -o faulthandler_timeout=0 $(TEST_ARGS)

FAULT_ROUNDS ?= 1000
faults: $(VENV)/.test ## the long run of the tests marked `faults`, the oracle, the fault matrix (FAULT_ROUNDS=1000)
	$(PY) -m pytest -m faults --fault-rounds=$(FAULT_ROUNDS) -o faulthandler_timeout=0 $(TEST_ARGS)
	$(PY) -m tests.faults.oracle
	$(PY) -m tests.faults.matrix --write docs/faults.md

# ---- installing ----------------------------------------------------------------------------------------------------
# constraints/{run,test,dev}.txt pin everything with hashes and agree with each other, so one environment serves all
# three and a later target only adds to it. A stamp file per list makes the second run cost nothing.

$(VENV)/bin/pip:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed; set PYTHON=")'
	@echo "==> creating $(VENV) with $$($(PYTHON) --version)"
	@$(PYTHON) -m venv $(VENV) || { echo "python3 -m venv failed; on Debian: apt-get install python3-venv"; exit 1; }

$(VENV)/.run $(VENV)/.test $(VENV)/.dev: $(VENV)/.%: constraints/%.txt pyproject.toml | $(VENV)/bin/pip
	@echo "==> installing constraints/$*.txt into $(VENV)"
	$(PY) -m pip install --disable-pip-version-check --require-hashes -r constraints/$*.txt
	@echo "==> installing asgi-apikey itself, editable"
	$(PY) -m pip install --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

# ---- renewing the pins ---------------------------------------------------------------------------------------------
# `make pins` moves within what pyproject.toml allows. `dev` is resolved first and binds the smaller lists.

UV := $(VENV)/bin/uv
PIN = $(UV) pip compile --universal --python-version 3.11 --generate-hashes --upgrade --no-emit-index-url \
	--no-emit-find-links --annotation-style line --custom-compile-command 'make pins' --no-config --quiet
COMPILE = $(PIN) pyproject.toml --extra all
# What is in the container image: the service with every store, and nothing that belongs to an application.
IMAGE_EXTRAS := serve postgres redis bcrypt

pins: | $(VENV)/bin/pip ## renew constraints/*.txt from pyproject.toml
	@test -x $(UV) || $(PY) -m pip install --disable-pip-version-check uv
	@echo "==> resolving"
	$(COMPILE) --group dev -o constraints/dev.txt
	$(COMPILE) --group test -c constraints/dev.txt -o constraints/test.txt
	$(COMPILE) --group build --group demo -c constraints/dev.txt -o constraints/run.txt
	$(PIN) pyproject.toml $(addprefix --extra ,$(IMAGE_EXTRAS)) -c constraints/dev.txt -o constraints/serve.txt
	$(PIN) --group build -c constraints/dev.txt -o constraints/build.txt

clean: ## remove the environment, caches and built files
	rm -rf $(VENV) dist .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find asgi_apikey tests docs benchmarks -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null || true
