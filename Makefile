# Hetao 河套. `make run` and `make test` set up all they need in .venv: Python 3.11 or later and make are enough.

PYTHON ?= python3
BIN := .venv/bin
#: Processes that run the tests.
JOBS ?= 2
PYTEST := $(BIN)/python -m pytest

.DEFAULT_GOAL := help
.PHONY: help run run-split test test-unit test-contract test-conformance test-functional test-fault test-newest lint lint-types lint-rest format proto docs bench bench-split drill drill-restore drill-timers lock venv venv-dev clean

help: ## 本页 · this page
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | while IFS="$$(printf '\t')" read -r name text; do printf '  make %-18s %s\n' "$$name" "$$text"; done

run: venv ## 启动平台（一个进程，内嵌数据库）· start the platform in one process, with its own database
	@exec $(BIN)/hetao serve --target=all

run-split: venv ## 分进程启动平台（Kafka、PostgreSQL、Redis、每个服务一个进程）· the same as separate processes, with their engines
	@exec $(BIN)/python -m engines split

test: venv-dev ## 全部测试 · all tests
	$(PYTEST) -n $(JOBS) --dist loadgroup --no-loadscope-reorder $(ARGS) tests/unit tests/contract tests/conformance tests/functional tests/fault
	@$(MAKE) --no-print-directory test-newest

# The schema runs on PostgreSQL 15 to 18: above on the machine's own, here on the newest, which the package carries: the kit whole, and of each
# service what goes through most of its statements. NEWEST=tests/unit is all.
NEWEST ?= tests/unit/kit $(addprefix tests/unit/,cases/test_chain.py cases/test_lists.py cases/test_figures.py grid/test_handover.py notify/test_deliveries.py)
test-newest: venv-dev
	TEST_POSTGRES=18 $(PYTEST) -n $(JOBS) --dist loadgroup --no-loadscope-reorder $(ARGS) $(NEWEST)

test-unit test-contract test-conformance test-functional test-fault: test-%: venv-dev
	$(PYTEST) -n $(JOBS) --dist loadgroup --no-loadscope-reorder $(ARGS) tests/$*

lint: venv-dev ## 代码检查 · ruff, mypy, import-linter, buf, drift of what is generated
	@$(MAKE) --no-print-directory --jobs=2 --output-sync lint-types lint-rest

lint-types:
	$(BIN)/mypy

lint-rest:
	$(BIN)/ruff check .
	$(BIN)/ruff format --check --quiet .
	$(BIN)/lint-imports --no-cache
	$(BIN)/python proto/generate.py --check
	$(BIN)/python -m services.gateway.reference --check
	$(BIN)/python docs/generate.py --check

format: venv-dev ## 排版 · format the code
	$(BIN)/ruff check --fix --quiet .
	$(BIN)/ruff format .

proto: venv-dev ## 由 proto/ 生成 gen/ 与 docs/reference/ · make gen/ and docs/reference/ from proto/
	$(BIN)/python proto/generate.py
	$(BIN)/python -m services.gateway.reference

docs: venv-dev ## 由代码生成文档 · make the parts of docs/ that follow from the code
	$(BIN)/python docs/generate.py

bench: venv-dev ## 性能数字 · the figures of tests/load
	$(BIN)/python -m tests.load $(ARGS)

bench-split: venv-dev ## 分进程的性能数字 · the figures of separate processes on real engines
	$(BIN)/python -m tests.load split stored events $(ARGS)

drill: venv-dev ## 零丢失演练 · kills everything in turn and audits the books (WRITES=, SEED=, MODE=split|replicas|all)
	$(BIN)/python -m tests.drill --writes $(or $(WRITES),100000) --seed $(or $(SEED),7) $(if $(MODE),--mode $(MODE)) $(ARGS)

drill-restore: venv-dev ## 恢复演练 · goes back to a backup taken mid-drill (WRITES=, SEED=, MODE=)
	$(BIN)/python -m tests.drill.restore --writes $(or $(WRITES),3000) --seed $(or $(SEED),7) $(if $(MODE),--mode $(MODE)) $(ARGS)

drill-timers: venv-dev ## 定时演练 · timers through a storm of crashes (OPEN=, SEED=)
	$(BIN)/python -m tests.drill.timers --open $(or $(OPEN),100000) --seed $(or $(SEED),7) $(ARGS)

# The locks hold digests of every file of a release, so they serve any platform and Python from 3.11 that the packages have wheels for;
# they are tested on Linux x86_64.
lock: ## 更新锁文件 · bring the lock files up to date
	@$(PYTHON) -m venv build/lock && build/lock/bin/pip install --quiet uv
	build/lock/bin/uv pip compile $(LOCK) --group build -o requirements.lock
	build/lock/bin/uv pip compile $(LOCK) --group build --group dev -c requirements.lock -o requirements-dev.lock
LOCK = pyproject.toml --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-annotate --no-header $(UPGRADE)

venv venv-dev:
	@command -v $(PYTHON) > /dev/null || { echo "错误：找不到 $(PYTHON)，需要 Python 3.11 或更高版本"; echo "error: $(PYTHON) not found; Python 3.11 or later is needed"; exit 1; }
	@$(PYTHON) bootstrap.py requirements$(if $(filter venv-dev,$@),-dev,).lock

clean: ## 删除 .venv 与构建产物，保留 var/ 中的数据 · remove .venv and what was built; data in var/ stays
	rm -rf .venv build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
