# `make` alone prints help. `make step 3` and `make step N=3` mean the same.

.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory
SHELL := /bin/sh

# Targets that take the number of a step (compare takes two).
NUMBERED := step check start hint diff solution reset watch mistake notebook load compare mark mutants
ifneq ($(filter $(NUMBERED),$(firstword $(MAKECMDGOALS))),)
GIVEN := $(wordlist 2,9,$(MAKECMDGOALS))
ifneq ($(GIVEN),)
override N := $(GIVEN)
.PHONY: $(GIVEN)
$(GIVEN):: ; @:
endif
NO_STEP := $(strip $(foreach n,$(N),$(if $(wildcard step0$(n)_*),,$(n))))
ifneq ($(NO_STEP),)
STEPS := $(foreach folder,$(wildcard step0*_*),$(patsubst step0%,%,$(firstword $(subst _, ,$(folder)))))
$(error There is no step $(NO_STEP): the steps are $(STEPS))
endif
endif

.DEFAULT:
	$(error There is no target $@: make help lists them)

# make hands variables of the command line and of the environment on to the commands, which read
# there APP, M, PORT, CHECK, SERVICE, QUICK, REPORT, URL, C, S, DIR, WHEELHOUSE, THIS, SEED, COUNT and JOBS: spaces
# in them do no harm.
ifneq ($(N),)
export N
endif

# These change what a Python imports, where it looks for itself, and whether it keeps assertions:
# set for another project, they would break the workshop's own.
unexport PYTHONPATH PYTHONHOME PYTHONSAFEPATH PYTHONOPTIMIZE PYTHONPLATLIBDIR
# Many containers set this; without it, what hundreds of processes import is compiled once.
unexport PYTHONDONTWRITEBYTECODE

WORKSHOP = .venv/bin/python -m workshop
SUPPORTED = import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 14))

# Groups of packages (pyproject.toml) that some targets need besides core. A GROUPS that is not on
# the command line may be a shell's, which counts a user's groups so.
needs = $(if $(filter $(2),$(MAKECMDGOALS)),$(1))
GIVEN_GROUPS := $(if $(filter command,$(origin GROUPS)),$(GROUPS))
GROUPS_NEEDED := core $(if $(filter install,$(MAKECMDGOALS)),$(GIVEN_GROUPS)) \
  $(call needs,notebooks,notebooks notebook handout) \
  $(call needs,bench,bench) \
  $(call needs,build,wheelhouse) \
  $(call needs,dev,lint format test test-% dev-check)

# What `python -m workshop` does under the same name.
COMMANDS := $(NUMBERED) notebooks handout bench services pause stop psql redis-cli doctor progress clean \
  wheelhouse test-flakiness dev-check prose

.PHONY: help install $(COMMANDS)

help: ## print this list
	@awk -F ': .*## ' 'BEGIN { print "Begin with make step 1, and read step01_basic/README.md.\n" } \
	  /^## / { print "\n" substr($$0, 4) } \
	  /^[a-z-]+:.* ## / { printf "  make %-15s %s\n", $$1, $$2 }' Makefile

$(COMMANDS): install
	@exec $(WORKSHOP) $@

install: ## install what is needed; with GROUPS=dev, a group more
	@$(if $(filter wheelhouse,$(MAKECMDGOALS)),unset WHEELHOUSE;) \
	if test -z "$$PYTHON" && test -x .venv/bin/python && \
	  .venv/bin/python -I -S workshop/setup/stamp.py $(GROUPS_NEEDED); then exit 0; fi; \
	set -- python3 python3.14 python3.13 python3.12 python3.11; \
	test -z "$$PYTHON" || set -- "$$PYTHON"; \
	for python; do \
	  if "$$python" -c '$(SUPPORTED)' 2>/dev/null; then \
	    exec "$$python" -I workshop/setup/install.py $(GROUPS_NEEDED); \
	  fi; \
	done; \
	echo "✗ Python 3.11 to 3.14 is needed, not found as $$*: install one, or add PYTHON=/its/path to the command." >&2; \
	exit 1

## Learn

step: ## serve a step and say what to try: make step 3
start: ## make your copy of a step in work/, from the step before
check: ## check your work on a step, or APP=folder: make check 3
watch: ## check again on every save
hint: ## the next hint for the first failed check, or CHECK=id
solution: ## the finished step; asks first while your checks fail
diff: ## what changes from the step before
mistake: ## list the mistakes of a step; with M=name, serve one
notebook: ## open the notebook of one step
notebooks: ## open JupyterLab on all notebooks
progress: ## your steps: checks passed, hints used, minutes
reset: ## start a step again; your old work is kept, with a date

## Measure

load: ## load a step, APP=folder or URL=; C=connections, S=seconds
compare: ## compare steps, APP=folder, URL=: make compare 2 3
bench: ## measure all steps against each other; QUICK=1: a look

## Look after the servers

services: ## start PostgreSQL and Valkey; prints an app's settings
stop: ## stop PostgreSQL and Valkey; their data is kept
pause: ## let a server hang until make services: SERVICE=valkey
psql: ## a PostgreSQL prompt on the shop
redis-cli: ## a Redis prompt on the cache
doctor: ## look for what could be wrong on this machine
clean: ## stop services, remove caches, .workshop/; never work/

## Teach

mark: ## check many learners' work: DIR=folder of submissions
handout: ## write the notebooks as pages to hand out
wheelhouse: ## collect wheels to install without network; THIS=1

wheelhouse: export WHEELHOUSE_GROUPS = $(GIVEN_GROUPS)# a bash in between would lose GROUPS

## Develop

.PHONY: test test-fast test-thorough test-bare lint format lock

TESTS = .venv/bin/python -m pytest tests
WORKERS = 6# most tests wait more than they work

test-fast: lint ## before a commit: lint, and the tests that need no server
	@exec $(TESTS) -m fast

test: install ## run everything: checks, mistakes, tooling, notebooks
	@exec $(TESTS) -n $(WORKERS) --dist loadscope

test-thorough: install ## every mistake meets every check, with all cores busy too
	@THOROUGH=1 exec $(TESTS) -n $(WORKERS) --dist loadscope

dev-check: ## what a new step, check or mistake still lacks
prose: ## how the texts read, in figures, beside their goals
test-flakiness: ## run the checks 20 times with all cores busy
mutants: ## change a step at random: what do its checks miss?

test-bare: ## install, serve and check on bare Debian systems, as root
	@exec tests/bare/run

# Programs that only some machines have must not change what actionlint finds.
lint: install ## look for faults, wrong types and formatting
	@.venv/bin/python -m ruff check . && .venv/bin/python -m ruff format --check . && \
	.venv/bin/python -m mypy && .venv/bin/actionlint -shellcheck= -pyflakes= .github/workflows/*.yml

format: install ## format the code and mend what can be mended
	@.venv/bin/python -m ruff check --fix . ; .venv/bin/python -m ruff format .

lock: install ## pin what pyproject.toml names; UPGRADE=1: the newest
	@.venv/bin/python -I workshop/setup/locking.py
