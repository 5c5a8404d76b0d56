# make demo   set-up, then the whole O2O-DRL loop with real processes on the embedded database
# make test   set-up, then the tests (those that need a server say so and are skipped without one)
# make lint   ruff, mypy, import rules
# make bench  the benchmarks; results go to benchmarks/results/
# make chaos  every fault twenty times; more than an hour on two cores

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# CPU builds of torch come from PyTorch's own index; not used where PIP_FIND_LINKS brings a wheel.
TORCH_INDEX_URL ?= https://download.pytorch.org/whl/cpu
TORCH_INDEX := $(if $(PIP_FIND_LINKS),,--extra-index-url $(TORCH_INDEX_URL))

.PHONY: demo test lint bench chaos setup clean

setup: $(VENV)/.installed

$(VENV)/.installed: requirements.lock pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "offload-testbed needs Python 3.11 or newer")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check $(TORCH_INDEX) -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps -e .
	touch $@

demo: setup
	$(BIN)/offload run --preset demo --out runs/demo

test: setup
	$(BIN)/python -m pytest

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: setup
	$(BIN)/python benchmarks/transitions_from_logs.py
	$(BIN)/python benchmarks/decision_latency.py
	$(BIN)/python benchmarks/fidelity_by_time_scale.py
	$(BIN)/python benchmarks/twin_speed.py
	$(BIN)/python benchmarks/hot_keys.py
	$(BIN)/python benchmarks/model_rollout.py

# Every fault RUNS times on real servers that it starts and hurts (docs/reliability.md). SERVERS: the folder of their scripts.
RUNS ?= 20
WORKERS ?= 2
chaos: setup
	OFFLOAD_TEST_SERVERS=$(or $(SERVERS),$(OFFLOAD_TEST_SERVERS),$(error name the folder of the server scripts: make chaos SERVERS=…)) \
	  $(BIN)/python tests/chaos/campaign.py --runs $(RUNS) --workers $(WORKERS) --table docs/reliability.md

clean:
	rm -rf $(VENV) .offload runs
