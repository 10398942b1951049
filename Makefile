# Two commands matter: `make demo` and `make test`. Everything else is for people who work on unibeam.

SHELL := /bin/sh
VENV ?= .venv
BIN := $(VENV)/bin
export VENV
# Work without these is short; the tests that may share a host run on this many workers.
WORKERS ?= 2

.PHONY: help demo test lab setup unit integration notebooks notebooks-sync binder kernels xen browser bench torture audit clean
.DEFAULT_GOAL := help

help:
	@echo "make demo    install what is missing, run notebooks/01_quickstart.ipynb, leave report and charts in out/"
	@echo "make test    install what is missing, run every test but those of further kernels"
	@echo "make lab     open JupyterLab on the notebooks"
	@echo "make binder  do what Binder does: build, then every notebook, as a user without rights and below 2 GB"
	@echo "make kernels compile and boot the kernels that make test has no time for"
	@echo "make xen     boot images on a Xen host under emulation, also one whose kernel make test has no time for"
	@echo "make bench   measure and rewrite notebooks/data/ (BENCHMARKS.md says how to read it)"
	@echo "make torture faults, load and hostile input for an hour or so (RELIABILITY.md; one part: make torture ARGS=faults)"
	@echo "make audit   ask the Python advisory database about what is installed (ARGS='--advisories all.zip': without a network)"
	@echo "make clean   stop every machine and remove out/ and the virtual environment"

setup:
	@scripts/setup.sh $(SETUP_FLAGS)

demo: setup
	@$(BIN)/python scripts/demo.py

# All tiers share one store, so that a kernel, an emulator or a package is made or fetched once in a run. The kernel, which
# takes minutes to compile, is begun beside the tests that do not need it; those that do wait for it, or make it.
test: setup
	@store=$${UNIBEAM_TEST_STORE:-$$(mktemp -d)} && \
	{ UNIBEAM_HOME=$$store/store $(BIN)/unibeam kernel build tiny >/dev/null 2>&1 & ahead=$$!; } && \
	trap 'exit 130' INT TERM && \
	trap 'kill $$ahead 2>/dev/null; wait $$ahead; \
	      [ -n "$$UNIBEAM_TEST_STORE" ] || { chmod -R u+rwx "$$store"; rm -rf "$$store"; }' EXIT && \
	UNIBEAM_TEST_STORE=$$store $(MAKE) --no-print-directory unit integration notebooks browser

unit: setup
	@echo "==> unit tests"
	@$(BIN)/python -m pytest tests/unit -q -n $(WORKERS)

# Tests of one file share what they build, so a file stays on one worker. Tests that measure, or that need the host to
# themselves, run alone afterwards.
integration: setup
	@echo "==> integration tests (real erlc, rebar3, mix, QEMU, podman, crun)"
	@$(BIN)/python -m pytest tests/integration -q -n $(WORKERS) --dist loadfile -m "not serial and not kernels and not xen"
	@$(BIN)/python -m pytest tests/integration -q -m "serial and not kernels and not xen"

# The kernels that make test has no time for: the smallest, and one with every option.
kernels: setup
	@echo "==> further kernels"
	@$(BIN)/python -m pytest tests/integration/test_kernel_variants.py -q

notebooks: setup
	@echo "==> notebooks"
	@$(BIN)/python -m pytest tests/notebooks -q --durations=0 --durations-min=1

# Each notebook has a twin in notebooks/text/; the newer of the two is taken, and outputs go.
notebooks-sync: setup
	@$(BIN)/python scripts/notebooks.py

# What Binder will do: its build and every notebook, as nobody, below 2 GB. Compiles a kernel unless ARGS="--store DIR".
binder: setup
	@$(BIN)/python scripts/binder.py $(ARGS)

# A real JupyterLab and a real Notebook in a real browser; pictures of them are kept in out/browser/. Where there is no
# Chromium to be had, the tests are skipped and say so.
browser: setup
	@scripts/setup.sh --browser
	@echo "==> browser tests (JupyterLab in Chromium)"
	@$(BIN)/python -m pytest tests/browser -q

# A whole Xen host under emulation, with PV and PVH guests, and with a tiny kernel, which it compiles.
xen: setup
	@echo "==> Xen under QEMU"
	@$(BIN)/python -m pytest tests/integration/test_xen.py -q

lab: setup
	@$(BIN)/jupyter lab $$([ "$$(id -u)" -ne 0 ] || echo --allow-root) notebooks

bench: setup
	@$(BIN)/python scripts/bench.py
	@$(BIN)/python scripts/counted.py --write
	@$(BIN)/python scripts/translated.py --write
	@$(BIN)/python scripts/edit.py --write
	@$(BIN)/python scripts/round_trip.py --write
	@$(BIN)/python scripts/platforms.py --write
	@scripts/setup.sh --browser
	@$(BIN)/python scripts/face.py --write
	@$(BIN)/python scripts/record.py

# Interruptions, load and bad input, far more of them than make test has time for.
torture: setup
	@scripts/setup.sh --browser
	@$(BIN)/python -c 'import atheris' 2>/dev/null || $(BIN)/python -m pip install --quiet -e '.[fuzz]'
	@$(BIN)/python scripts/torture.py $(ARGS)

audit: setup
	@$(BIN)/python scripts/audit.py $(ARGS)

clean:
	@[ ! -x $(BIN)/unibeam ] || $(BIN)/unibeam clean
	@rm -rf out $(VENV)
