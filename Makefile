# Each target works from a bare checkout: uv where present, else venv + pip.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test slow lint plugins clean

demo: .venv/.base
	@$(BIN)/polzoo demo

test: .venv/.test
	$(BIN)/python -m pytest -m "not slow"

slow: .venv/.test
	$(BIN)/python -m pytest -m slow

lint: .venv/.lint
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright

# The packages under plugins/ as third parties: in an environment of their own, their tests and the contract suite.
plugins: .venv-plugins/.done
	@for package in plugins/*/; do \
		(cd $$package && OMP_NUM_THREADS=1 ../../.venv-plugins/bin/python -m pytest -q -m "not slow") || exit 1; \
	done
	@found=$$(.venv-plugins/bin/polzoo plugins) && echo "$$found" && ! echo "$$found" | grep -qE "^ *(error|slow):"

.venv-plugins/.done: pyproject.toml $(wildcard plugins/*/pyproject.toml)
	test -x .venv-plugins/bin/pip || $(PYTHON) -m venv .venv-plugins
	.venv-plugins/bin/python -m pip install --quiet --disable-pip-version-check -e ".[test]" $(foreach p,$(wildcard plugins/*/),-e $(p))
	@touch $@

clean:
	rm -rf .venv .venv-plugins

.venv/.base: EXTRAS :=
.venv/.test: EXTRAS := [test]
.venv/.lint: EXTRAS := [lint,test]
.venv/.base .venv/.test .venv/.lint: pyproject.toml
	@if command -v uv >/dev/null 2>&1; then \
		test -x $(BIN)/python || uv venv --quiet .venv; \
		uv pip install --quiet --python $(BIN)/python -e ".$(EXTRAS)"; \
	else \
		test -x $(BIN)/pip || $(PYTHON) -m venv .venv; \
		$(BIN)/python -m pip install --quiet --disable-pip-version-check -e ".$(EXTRAS)"; \
	fi
	@touch $@
