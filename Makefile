# Each target works by itself on a fresh machine with make, git and Python 3.11 to 3.13; the first one lays .venv.
PYTHON ?= python3
VENV ?= .venv
# Where to deploy: an inventory of yours, for example INVENTORY=inventories/swarm.
INVENTORY ?= inventories/local
# Where the models are, for example MODELS=gs://bucket/models or MODELS=/srv/models; without it the inventory decides.
MODELS ?=
# Further arguments of ansible-playbook (or of pytest in `make pytest`), for example ARGS='--check --diff'.
ARGS ?=

BIN := $(abspath $(VENV))/bin
export ANSIBLE_CONFIG := $(CURDIR)/ansible.cfg
# Ansible refuses to run without a UTF-8 locale, and a minimal machine has only this one.
export LC_ALL := C.UTF-8
export PATH := $(BIN):$(PATH)

ENVIRONMENT = PYTHON='$(PYTHON)' VENV='$(VENV)' sh tools/bootstrap.sh
PLAY = $(BIN)/ansible-playbook -i '$(INVENTORY)'
# On this machine the node's environment is made with the same Python.
ifeq ($(INVENTORY),inventories/local)
PLAY += -e 'host_python_command=$(PYTHON)'
endif

.PHONY: help deploy status undeploy test lint pytest molecule format docs lock release controller development clean

help: ## Show the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' Makefile

deploy: ## Deploy the fleet (MODELS=<uri>, INVENTORY=<path>, ARGS=<more>)
	@begin=$$(date +%s); $(ENVIRONMENT) controller && \
	$(PLAY) playbooks/deploy.yml $(if $(MODELS),-e 'models_repository=$(MODELS)') $(ARGS); status=$$?; \
	echo "make deploy took $$(($$(date +%s) - begin)) s"; exit $$status

status: controller ## Show which models are served where
	$(PLAY) playbooks/status.yml $(ARGS)

undeploy: controller ## Stop and remove what deploy made
	$(PLAY) playbooks/undeploy.yml $(ARGS)

test: development ## Run every test: pytest, then the molecule scenario
	$(BIN)/python tools/run_tests.py

pytest: development ## Run pytest alone (ARGS=<paths and options>)
	$(BIN)/python -m pytest $(ARGS)

molecule: development ## Run the molecule scenario alone
	$(BIN)/molecule test $(ARGS)

lint: development ## Check style, types, layers and playbooks
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy -p modelfleet -p modelfleet_services
	$(BIN)/mypy tools tests/support
	$(BIN)/lint-imports
	$(BIN)/yamllint --strict .
	$(BIN)/ansible-lint --strict --offline

format: development ## Bring the code into the house's style
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: development ## Generate docs/modules.md and docs/variables.md
	$(BIN)/python tools/generate_docs.py

lock: development ## Pin the newest releases that requirements/*.in allow
	$(BIN)/python tools/lock.py

release: ## Build the artefact of the nodes, build/modelfleet.pyz
	$(PYTHON) tools/release.py

controller: ## Lay the environment that the playbooks need
	@$(ENVIRONMENT) controller

development: ## Lay the environment that tests and checks need
	@$(ENVIRONMENT) development

clean: ## Remove the environment and what was built
	rm -rf $(VENV) build .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache
