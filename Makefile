.PHONY: setup demo unit coverage test slow-test serf-test kernel-test e2e e2e-ipv6 bench chaos fuzz mutate lint stubs

PYTHON := .venv/bin/python
# Tests that make hosts of namespaces need root; the kernel tests run in a guest of their own.
# Those that wait much come first, and the many short ones fill in what is left.
TESTS := tests/netns tests/hostile tests/chaos tests/serf tests/sim tests/vectors tests/unit tests/fuzz

setup:
	@scripts/setup

demo: setup
	@scripts/need-root .venv/bin/wgmesh demo $(DEMO)

# What needs no root, in a minute: a fifth of the examples, and none of the `heavy` tests. `make test` has them all.
UNIT := tests/unit tests/vectors -m "not slow and not heavy" --hypothesis-profile=quick -q -n auto --dist worksteal
unit: setup
	@PYTHONDONTWRITEBYTECODE= $(PYTHON) -m pytest $(UNIT) $(PYTEST)

# The same, with what they run of the code, in branches; prints the modules of which they run least.
coverage: setup
	@mkdir -p build/coverage
	@PYTHONDONTWRITEBYTECODE= $(PYTHON) -m pytest $(UNIT) --cov --cov-report= $(PYTEST)
	@.venv/bin/coverage report > build/coverage/report.txt
	@head -n 22 build/coverage/report.txt; tail -n 3 build/coverage/report.txt
	@echo "all modules: build/coverage/report.txt"

test: setup
	@scripts/need-root $(PYTHON) -m pytest $(TESTS) -m "not slow" -q -n 4 --dist loadfile --no-loadscope-reorder $(PYTEST)

# What takes too long for each change: more seeds, long cuts, tunnels that live for minutes.
slow-test: setup
	@scripts/need-root $(PYTHON) -m pytest $(TESTS) -m slow -q -n 4 --dist loadfile --no-loadscope-reorder $(PYTEST)

serf-test: setup
	@tests/serf/newer
	@$(PYTHON) -m pytest tests/serf -q $(PYTEST)

kernel-test: setup
	@scripts/need-root tests/kernel/run $(PYTEST)

e2e: setup
	@scripts/need-root tests/kind/run $(PYTEST)

e2e-ipv6: setup
	@scripts/need-root tests/kind/run tests/kind/test_ipv6_cluster.py $(PYTEST)

bench: setup
	@scripts/need-root $(PYTHON) tests/bench/run.py $(BENCH)

chaos: setup
	@scripts/need-root $(PYTHON) tests/chaos/run.py $(CHAOS)

# Each border gets FUZZ invalid values; `make test` tries a few.
FUZZ := 200000
fuzz: setup
	@FUZZ_EXAMPLES=$(FUZZ) $(PYTHON) -m pytest tests/fuzz tests/unit/gossip/test_hostile_input.py tests/unit/test_values.py \
	  -q -n 2 -o timeout=0 $(PYTEST)

mutate: setup
	@$(PYTHON) tests/mutate/run.py $(MUTATE)

lint: setup
	@.venv/bin/ruff check .
	@.venv/bin/ruff format --check .
	@scripts/check-style
	@.venv/bin/mypy
	@.venv/bin/lint-imports
	@$(PYTHON) scripts/check-words
	@$(PYTHON) scripts/generate-stubs --check
	@$(PYTHON) scripts/generate-crds --check

stubs: setup
	@$(PYTHON) scripts/generate-stubs
