# Every target sets up what it needs: .venv with the versions of constraints.txt.
PYTHON ?= python3.11
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed-$(shell cat pyproject.toml constraints.txt | cksum | cut -d' ' -f1)
PROTOS := $(wildcard proto/reram_fleet/v1/*.proto)

export FLWR_TELEMETRY_ENABLED = 0
export FLWR_DISABLE_UPDATE_CHECK = 1
export FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION = 1
export RAY_USAGE_STATS_ENABLED = 0
export OMP_NUM_THREADS = 1
# Hundreds of processes that the tests start would each compile the project anew.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help install demo up down test test-deployed test-cpu kills attacks exploits random-messages test-data lint lines format proto bench claims results metrics-page simulation-page mixin weights constraints clean

help: ## Show the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-15s %s\n", $$1, $$2}'

$(STAMP):
	@command -v $(PYTHON) >/dev/null || { echo "$(PYTHON) not found: install Python 3.11, or name one with PYTHON=..."; exit 1; }
	@echo "Setting up $(VENV) (once; about 800 MB, most of it PyTorch) ..."
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[dev]'
	@rm -f $(VENV)/.installed-*
	@touch $@

install: $(STAMP) ## Make .venv and install the project into it

demo: $(STAMP) ## Start a real fleet, enrol people, forget one, prove it; TASK=speakers|faces|faces-yale-b|fsdd|images
	$(BIN)/fleet demo --task $(or $(TASK),speakers) --output demo.json

# On fixed ports, so that bookmarks hold; the folder stays until `make clean`.
up: $(STAMP) ## Start a fleet that Prometheus watches, with people in it; says where to look (ends with `make down`)
	@command -v prometheus >/dev/null || { echo "Prometheus is not installed: apt-get install prometheus"; exit 1; }
	$(BIN)/fleet up --nodes 3 --state .fleet --prometheus
	$(BIN)/fleet people enroll --state .fleet --count 3
	$(BIN)/fleet report dashboard --output .fleet/dashboard.html

down: $(STAMP) ## End the fleet of `make up`
	$(BIN)/fleet down --state .fleet

# Real fleets mostly wait: a third process computes meanwhile (tests/conftest.py), and two cores are seldom idle. A
# file's fixtures stay in one process. In the order of `testpaths`, fleets first: short files fill what is left.
test: $(STAMP) ## Run the tests, but for those of the targets below
	$(BIN)/python -m pytest --numprocesses 3 --dist loadfile --no-loadscope-reorder $(if $(CI),--durations=25)

# On machines that systemd boots, as root; and what pages say to type. They wait more than they compute.
test-deployed: $(STAMP) ## Run the tests of fleets as they are installed and watched, of how-tos and notebooks
	$(BIN)/python -m pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder tests/deployed

# As on other processors and thread counts; `make test` is the sixth setting. With two threads only what is exact: the
# floats of other tests may be added up in another order, and so on processors without AVX, which hardly exist by now.
# Threads that wait must not spin: two cores have four of them. Tests that start processes under other kernels do so
# whatever the setting, and what `fleet verify --task images` compares is made by the rest.
UNIT_TESTS = -q --numprocesses 2 --dist loadfile -k "not kernels" --ignore tests/unit/lab/test_verify_images.py
COMPUTING = $(addprefix tests/unit/, engine heads hwmodel lab node)
EXACT_TESTS = $(UNIT_TESTS) tests/unit/heads \
	$(addprefix tests/unit/engine/test_, exact_training.py learning_rounds.py backbone_codes.py)
test-cpu: export OMP_WAIT_POLICY = passive
test-cpu: $(STAMP) ## Run the unit tests of what computes with other kernels, on one and two threads
	ATEN_CPU_CAPABILITY=avx2 $(BIN)/python -m pytest $(UNIT_TESTS) $(COMPUTING)
	ATEN_CPU_CAPABILITY=default $(BIN)/python -m pytest $(EXACT_TESTS) tests/unit/hwmodel
	OMP_NUM_THREADS=2 $(BIN)/python -m pytest $(EXACT_TESTS)
	ATEN_CPU_CAPABILITY=default OMP_NUM_THREADS=2 $(BIN)/python -m pytest $(EXACT_TESTS)
	ATEN_CPU_CAPABILITY=avx2 OMP_NUM_THREADS=2 $(BIN)/python -m pytest $(EXACT_TESTS)

attacks: exploits random-messages ## Run the exploits of the security review, and 10,000 random messages of one node

# Each exploit starts a fleet of its own. `make claims AREA=security` also runs them against where they were found.
exploits: $(STAMP)
	$(BIN)/python -m tests.faults.exploits

random-messages: $(STAMP)
	$(BIN)/python -m pytest -q tests/attacks/test_random_messages.py

kills: $(STAMP) ## Kill coordinator and nodes at every single durable step (an hour); `make test` does at each kind
	$(BIN)/python -m pytest -q --numprocesses 2 tests/every_kill

# Fails where the data are missing, and says what to set.
test-data: $(STAMP) ## Run the tests that want the real faces and digits; RERAM_FLEET_DATA=folder
	$(BIN)/python -m pytest tests/with_data

lint: $(STAMP) ## Format check, lint, types, import rules, proto lint
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/buf lint

lines: $(STAMP) ## Count hand-written source lines by room
	$(BIN)/python -m tests.house

format: $(STAMP) ## Format the code
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

proto: $(STAMP) ## Regenerate the gRPC stubs beside the .proto files
	$(BIN)/python -m grpc_tools.protoc -Iproto --python_out=proto --pyi_out=proto --grpc_python_out=proto $(PROTOS)

weights: $(STAMP) ## Train the transformer that comes with the package again: minutes
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.image_weights

bench: $(STAMP) ## Speed ratios, taken side by side on the same work
	$(BIN)/python -m tests.bench

claims: $(STAMP) ## Measure what results/*.json say, going on where it stopped; AREA=learning SECTION=faces
	$(BIN)/python -m tests.bench.claims $(AREA) $(if $(SECTION),--section "$(SECTION)")

results: $(STAMP) ## Write RESULTS.md from results/*.json
	$(BIN)/python -m tests.bench.results_page

metrics-page: $(STAMP) ## Write docs/metrics.md from the code
	$(BIN)/python -m tests.metrics_page

simulation-page: $(STAMP) ## Write the schema of scenarios, and their reference in docs/simulation.md, from the code
	$(BIN)/python -m tests.simulation_page

mixin: $(STAMP) ## Write the rules and boards of deploy/ from fleet/metrics
	$(BIN)/python -m fleet.metrics

constraints: $(STAMP) ## Write the versions now in .venv to constraints.txt
	{ echo "# Exact versions that resolve together and that CI runs. Regenerate: make constraints"; \
	  $(BIN)/pip freeze --exclude-editable | sed 's/+cpu//'; } > constraints.txt

clean: ## Remove .venv and caches
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis .claims .fleet demo.json demo.png
