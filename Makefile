# make setup      install the testbed and its dependencies in .venv; the other targets do this first
# make demo       run the O2O-DRL pipeline with real processes and the embedded database
# make test       run the tests; those that need a server are skipped without one
# make lint       run ruff, mypy and the check of the import rules
# make bench      run the benchmarks; results are in benchmarks/results/
# make soak       play 2,000 short episodes on each database, with each kind of transfer; about an hour
# make chaos      inject every fault twenty times; about 4.5 hours on two cores
# make images     build the two images with docker
# make kind-up, kind-down, minikube-up, minikube-down
#                 start and delete the testbed on a laptop's cluster
# make e2e        run the end-to-end tests on Kubernetes (docs/kubernetes.md)
# make manifests  generate the chart's schema, its reference and k8s/*.yaml
# make clean      remove .venv, .offload and runs

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# torch's CPU builds are in PyTorch's own index. It is not used if PIP_FIND_LINKS provides the wheel.
TORCH_INDEX_URL ?= https://download.pytorch.org/whl/cpu
TORCH_INDEX := $(if $(PIP_FIND_LINKS),,--extra-index-url $(TORCH_INDEX_URL))

.PHONY: demo test lint bench soak chaos setup clean images kind-up kind-down minikube-up minikube-down e2e manifests

setup: $(VENV)/.installed

$(VENV)/.installed: requirements.lock pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "offload-testbed needs Python 3.11 or newer")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check $(TORCH_INDEX) -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps -e .
	touch $@

demo: setup
	$(BIN)/offload run --preset demo --out runs/demo

# Most tests wait more than they compute, so there are more workers than cores.
TEST_WORKERS ?= 3
test: setup
	$(BIN)/python -m pytest -n $(TEST_WORKERS) --dist loadfile -m "not alone"
	$(BIN)/python -m pytest -m alone

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
	$(BIN)/python benchmarks/live_settings.py
	$(BIN)/python benchmarks/model_rollout.py

# Plays thousands of short episodes without faults. Checks that no task is lost, no request is refused, and no process
# grows. About an hour.
soak: setup
	$(BIN)/python benchmarks/soak.py

# Injects every fault RUNS times, on real servers that it starts (docs/reliability.md).
# SERVERS: the folder of the servers' scripts.
RUNS ?= 20
WORKERS ?= 2
chaos: setup
	OFFLOAD_TEST_SERVERS=$(or $(SERVERS),$(OFFLOAD_TEST_SERVERS),$(error SERVERS is not set: make chaos SERVERS=…)) \
	  $(BIN)/python tests/chaos/campaign.py --runs $(RUNS) --workers $(WORKERS) --table docs/reliability.md

# --- Kubernetes
VERSION := $(shell sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)
DOCKER ?= docker
HELM ?= helm
LIGHT := offload-testbed:$(VERSION)
TRAINER := offload-testbed-trainer:$(VERSION)
INSTALL = $(HELM) upgrade --install testbed helm/offload-testbed -n offload-testbed --create-namespace \
  --wait --timeout 10m

images:
	$(DOCKER) build --target light -t $(LIGHT) .
	$(DOCKER) build --target trainer -t $(TRAINER) .

kind-up: images
	kind get clusters | grep -qx offload-testbed || kind create cluster --name offload-testbed --config k8s/kind.yaml
	kind load docker-image --name offload-testbed $(LIGHT) $(TRAINER)
	$(INSTALL) --kube-context kind-offload-testbed -f helm/offload-testbed/values-kind.yaml

kind-down:
	kind delete cluster --name offload-testbed

minikube-up: images
	minikube status -p offload-testbed >/dev/null || minikube start -p offload-testbed --cpus 2 --memory 6g
	minikube -p offload-testbed image load $(LIGHT)
	minikube -p offload-testbed image load $(TRAINER)
	$(INSTALL) --kube-context offload-testbed -f helm/offload-testbed/values-minikube.yaml

minikube-down:
	minikube delete -p offload-testbed

# CLUSTER and SERVERS: folders of scripts that start a cluster and servers (tests/cluster/run). Without them, the tests
# use kubectl's current cluster, which must have the images.
e2e: setup
ifdef CLUSTER
	PYTHON=$(BIN)/python tests/cluster/run $(CLUSTER) \
	  $(or $(SERVERS),$(error SERVERS is not set: make e2e CLUSTER=… SERVERS=…))
else
	OFFLOAD_TEST_CLUSTER=yes OFFLOAD_TEST_IMAGE=$(or $(OFFLOAD_TEST_IMAGE),$(LIGHT)) \
	  $(BIN)/python -m pytest tests/cluster -v
endif

manifests: setup
	$(BIN)/python helm/values.py
	$(BIN)/python k8s/render.py

clean:
	rm -rf $(VENV) .offload runs
