# The single door to everything; `make help` lists the targets.

AWS_PORT ?= 4566
WS_PORT ?= 3001
PAGE_PORT ?= 3002
# A SAM CLI of your own; the default is the project's.
SAM ?= .local/sam/bin/sam
# The first interpreter that works and is new enough.
PYTHON ?= $(shell for python in python3 python3.11 python3.12 python3.13; do \
	$$python -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null \
	&& echo $$python && break; done)

# Nothing to install for a SAM CLI from elsewhere.
SAM_ENVIRONMENT = $(if $(filter .local/%,$(SAM)),.local/sam/done)

export SAM_CLI_TELEMETRY = 0

.PHONY: help
help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 16

##@ Run

.PHONY: local
local: ## run the application on this machine (AWS_PORT, WS_PORT, PAGE_PORT, AUTH=jwt, LOG=quiet)
	@$(MAKE) --no-print-directory --silent -j3 .venv/local.done $(LOCAL_ENVIRONMENTS)
	@.venv/bin/python -m local.sam_version $(SAM)
	@exec .venv/bin/python -m local --aws-port "$(AWS_PORT)" --ws-port "$(WS_PORT)" \
		--page-port "$(PAGE_PORT)" --sam "$(SAM)" --log "$(LOG)" --auth "$(AUTH)" \
		--jwks-url "$(JWKS_URL)" --issuer "$(ISSUER)" --audience "$(AUDIENCE)"

.PHONY: token
token: .venv/local.done ## mint a token for make local AUTH=jwt (USER, ENTITIES, TENANT, MINUTES)
	@.venv/bin/python -m local.token --page-port "$(PAGE_PORT)" --user "$$TOKEN_USER" \
		--entities "$$ENTITIES" --tenant "$$TENANT" --minutes "$$MINUTES"

# The shell's own USER is nobody's wish. What is exported, the shell does not interpret.
token: export TOKEN_USER = $(if $(filter command,$(origin USER)),$(USER))
token: export ENTITIES ?=
token: export TENANT ?=
token: export MINUTES ?=

.PHONY: invoke
invoke: .local/emulator/done ## run a function on its event in events/ (FUNCTION, EVENT=file, DEBUG=1)
	@.local/emulator/bin/python -m local.invoke --function "$(FUNCTION)" \
		$(if $(EVENT),--event "$(EVENT)") $(if $(DEBUG),--debug)

.PHONY: screenshot
screenshot: .venv/dev.done ## take docs/page.png of the page of the running make local
	@.venv/bin/python -m local.page.screenshot docs/page.png

# An environment of samconfig.toml: dev, staging or prod. Without one, sam deploy asks for what it needs.
ENV ?=
# Not gradually, where it would be.
AT_ONCE ?=
# A role that CloudFormation takes for the stack; without one it does what the caller may do.
STACK_ROLE ?=
DEPLOYMENT = "$(ENV)" --sam $(SAM) $(if $(AT_ONCE),--at-once) $(if $(STACK_ROLE),--role-arn "$(STACK_ROLE)")

.PHONY: deploy
deploy: $(SAM_ENVIRONMENT) ## build and deploy to AWS (ENV=dev, staging or prod; AT_ONCE=1)
	@$(PYTHON) -m local.sam_version $(SAM)
	$(SAM) build $(if $(ENV),--config-env "$(ENV)")
	$(if $(ENV),$(PYTHON) -m operations.environments $(DEPLOYMENT),$(SAM) deploy --guided)

.PHONY: change-set
change-set: .venv/local.done $(SAM_ENVIRONMENT) ## build, and show what a deployment would change (ENV, AT_ONCE)
	@$(PYTHON) -m local.sam_version $(SAM)
	$(SAM) build --config-env "$(ENV)"
	@.venv/bin/python -m operations.change_set make $(DEPLOYMENT)

.PHONY: execute
execute: .venv/local.done ## do what a change set says, and wait for it (CHANGE_SET=arn)
	@.venv/bin/python -m operations.change_set execute "$(CHANGE_SET)"

# Whatever looks at a stack takes its name on AWS, or LOCAL=1 for the one of make local.
STACK ?= websocket-notifications

.PHONY: redrive
redrive: .venv/local.done ## send dead letters back to where they failed (STACK, or LOCAL=1)
	@.venv/bin/python -m operations.redrive $(if $(LOCAL),--local,--stack-name $(STACK))

.PHONY: smoke
smoke: .venv/local.done ## see in a minute whether a stack works (STACK, or LOCAL=1; TOKEN, SKIP)
	@.venv/bin/python -m operations.smoke $(if $(LOCAL),--local,--stack-name $(STACK)) \
		$(SKIP:%=--skip %)

smoke: export TOKEN ?=

.PHONY: trace
trace: .venv/local.done ## tell from the logs (EVENT, CONNECTION, SLOW=1 or POISON=1; MINUTES; STACK, or LOCAL=1)
	@.venv/bin/python -m operations.trace $(if $(LOCAL),--local,--stack-name $(STACK)) \
		$(if $(EVENT),--event "$$EVENT") $(if $(CONNECTION),--connection "$$CONNECTION") \
		$(if $(SLOW),--slow) $(if $(POISON),--poison) --minutes "$$MINUTES"

# What is exported, the shell does not interpret.
trace: export EVENT ?=
trace: export CONNECTION ?=
trace: export MINUTES ?= 60

.PHONY: alarms
alarms: .venv/local.done ## show the alarms of a stack and their runbooks (STACK, or LOCAL=1)
	@.venv/bin/python -m operations.alarms $(if $(LOCAL),--local,--stack-name $(STACK))

.PHONY: letters
letters: .venv/local.done ## show dead letters, DELETE=code deletes some (STACK, or LOCAL=1)
	@.venv/bin/python -m operations.letters $(if $(LOCAL),--local,--stack-name $(STACK)) \
		--delete "$(DELETE)"

.PHONY: errors
errors: .venv/local.done ## show what functions logged as errors (MINUTES; STACK, or LOCAL=1)
	@.venv/bin/python -m operations.errors $(if $(LOCAL),--local,--stack-name $(STACK)) \
		--minutes "$(or $(MINUTES),15)"

.PHONY: cost
cost: .venv/local.done ## what a load costs a month (CONNECTIONS, EVENTS, SUBSCRIBERS, RECONNECTS; docs/cost.md)
	@.venv/bin/python -m operations.cost \
		$(if $(CONNECTIONS),--connections "$$CONNECTIONS") $(if $(EVENTS),--events "$$EVENTS") \
		$(if $(filter file,$(origin SUBSCRIBERS)),,--subscribers "$$SUBSCRIBERS") \
		$(if $(RECONNECTS),--reconnects "$$RECONNECTS") $(if $(TOPICS),--topics "$$TOPICS") \
		$(if $(FRAME),--frame "$$FRAME") $(if $(PING),--ping "$$PING") \
		$(if $(MISSED),--missed "$$MISSED") $(if $(UNWATCHED),--unwatched "$$UNWATCHED") \
		$(if $(BATCH),--batch "$$BATCH") $(if $(WALK),--walk "$$WALK") \
		$(if $(HISTORY),--history "$$HISTORY") $(if $(RETENTION),--retention "$$RETENTION") \
		$(if $(LOG),--log "$$LOG") $(if $(ARCHITECTURE),--architecture "$$ARCHITECTURE") \
		$(if $(TOKENS),--tokens "$$TOKENS") $(if $(RECOVERY),--recovery "$$RECOVERY") \
		$(if $(ACCESS_LOGS),--access-logs "$$ACCESS_LOGS") \
		$(if $(DASHBOARD),--dashboard "$$DASHBOARD")

.PHONY: cost-tables
cost-tables: .venv/local.done ## write the tables and the picture of docs/cost.md anew
	@.venv/bin/python -m operations.cost --write

##@ Check

# Each has a local stack of its own, and needs about a gigabyte.
PROCESSES ?= 2

.PHONY: test
test: lint ## lint, then run all tests (PROCESSES)
	.venv/bin/pytest --numprocesses $(PROCESSES) --dist loadscope

.PHONY: lint
lint: test-environments ## ruff, mypy, cfn-lint and sam validate
	.venv/bin/ruff check
	.venv/bin/ruff format --check
	.venv/bin/mypy
	.venv/bin/cfn-lint template.yaml examples/*.yaml operations/github-roles.yaml
	@.venv/bin/python -m local.sam_version $(SAM)
	$(SAM) validate --lint --region us-east-1

# The local gateway, the emulator's own front, or the wss:// address of a stage on AWS.
TARGET ?= gateway

.PHONY: hooks
hooks: .venv/dev.done ## have git check each commit (.pre-commit-config.yaml)
	.venv/bin/pre-commit install

.PHONY: conformance
conformance: test-environments ## check the local gateway; TARGET=emulator or wss://... checks another
	.venv/bin/pytest tests/conformance --target $(TARGET)

# The command of another client than the project's. AS_SPECIFIED=1 if it does not read CLIENT_OPTIONS,
# SEES_STATUS=1 if it knows with which status a handshake was refused, LEAST=1 for the least alone.
CLIENT ?=

.PHONY: clients
clients: ## play scenarios with the clients, or CLIENT="command" (AS_SPECIFIED, SEES_STATUS, LEAST)
	@$(MAKE) --no-print-directory --silent .venv/dev.done $(if $(CLIENT),,$(NODE_MODULES))
	.venv/bin/pytest tests/clients $(if $(LEAST),-m least) $(if $(CLIENT),--client "$(CLIENT)") \
		$(if $(AS_SPECIFIED),--as-specified) $(if $(SEES_STATUS),--sees-status)

# What `make bench` runs, one after another; QUICK=--quick shows in a minute that everything runs.
BENCHMARKS = posting notifier cold_start units

.PHONY: bench
bench: test-environments ## measure posts, the notifier, cold starts, and what operations cost
	@for benchmark in $(BENCHMARKS); do \
		echo "== $$benchmark"; \
		PYTHONPATH=functions:tests .venv/bin/python -m benchmarks.$$benchmark $(QUICK) || exit 1; \
	done

SUBSCRIBERS ?= 1000

.PHONY: fanout
fanout: test-environments ## publish to many clients of a local stack and count (SUBSCRIBERS, FAULTS)
	.venv/bin/python -m benchmarks.fanout --subscribers $(SUBSCRIBERS) --faults "$(FAULTS)"

.PHONY: bench-gateway
bench-gateway: test-environments ## measure the local gateway
	PYTHONPATH=tests EMULATOR_PYTHON=.local/emulator/bin/python .venv/bin/python -m benchmarks.gateway

.PHONY: scan
scan: .local/scan/done ## checkov, zizmor and bandit
	.local/scan/bin/checkov --config-file .checkov.yaml
	.local/scan/bin/zizmor --offline --quiet --persona=pedantic .github .pre-commit-config.yaml
	.local/scan/bin/bandit --quiet --configfile pyproject.toml --recursive functions local operations client/python examples

.PHONY: audit
audit: .local/scan/done ## known vulnerabilities of the functions' dependencies (needs the advisory service)
	.local/scan/bin/pip-audit --requirement functions/requirements.txt

.PHONY: test-environments
test-environments:
	@$(MAKE) --no-print-directory --silent -j3 .venv/dev.done $(LOCAL_ENVIRONMENTS) $(NODE_MODULES)

##@ Contract

.PHONY: contract
contract: .venv/dev.done ## write asyncapi.yaml anew, from the models in the code
	PYTHONPATH=functions .venv/bin/python -m contract

.PHONY: docs
docs: ## render the contract into one page that needs no network
	@$(MAKE) --no-print-directory --silent .venv/dev.done $(NODE_MODULES)
	@PYTHONPATH=functions .venv/bin/python -m contract --page docs/contract.html

##@ Environments

LOCAL_ENVIRONMENTS = .local/emulator/done $(SAM_ENVIRONMENT)

# $(1): folder of the environment, $(2): requirements file, $(3): what it is for
define install
	@test -n "$(PYTHON)" || { echo "Python 3.11, 3.12 or 3.13 is needed: make PYTHON=/path/to/python" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
		echo "$(PYTHON) cannot make environments; on Debian and Ubuntu: apt-get install python3-venv" >&2; exit 1; }
	@echo "Installing $(3) ..."
	@test -x $(1)/bin/pip || $(PYTHON) -m venv $(1)
	@$(1)/bin/python -m pip install --quiet --disable-pip-version-check -r $(2)
	@touch $@
endef

.venv/local.done: local/requirements.txt
	$(call install,.venv,$<,the local run)

.venv/dev.done: requirements-dev.txt functions/requirements.txt local/requirements.txt
	$(call install,.venv,$<,what the tests need)

.local/emulator/done: local/requirements-emulator.txt
	$(call install,.local/emulator,$<,the emulator)

.local/scan/done: requirements-scan.txt
	$(call install,.local/scan,$<,the scanners)

.local/sam/done: local/requirements-sam.txt
	$(call install,.local/sam,$<,the SAM CLI)

# What the tests of the JavaScript client, of examples/publish.mjs and of the contract need. Without
# npm they are skipped.
NODE_FOLDERS = client/js examples contract/node
NODE_MODULES = $(if $(shell command -v npm),$(addsuffix /node_modules/.done,$(NODE_FOLDERS)))

%/node_modules/.done: %/package.json
	@echo "Installing what the tests of $* need ..."
	@npm install --prefix $* --silent --no-package-lock --no-audit --no-fund && touch $@ \
		|| echo "npm could not; they will be skipped"

.PHONY: clean
clean: ## remove all that make made
	rm -rf .venv .local .aws-sam $(addsuffix /node_modules,$(NODE_FOLDERS)) docs/contract.html
