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
	@found=$$(.venv-plugins/bin/polzoo plugins) && echo "$$found" && ! echo "$$found" | grep -qE "^ *(error|slow):" && \
	for package in plugins/*/; do \
		echo "$$found" | grep -q "($$(basename $$package) " || { echo "polzoo plugins does not show $$package"; exit 1; }; \
	done

# $(call install,ENVIRONMENT,WHAT): makes the environment if there is none, and installs into it.
define install
	@if command -v uv >/dev/null 2>&1; then \
		test -x $(1)/bin/python || uv venv --quiet $(1); \
		uv pip install --quiet --python $(1)/bin/python $(2); \
	else \
		test -x $(1)/bin/pip || $(PYTHON) -m venv $(1); \
		$(1)/bin/python -m pip install --quiet --disable-pip-version-check $(2); \
	fi
	@touch $@
endef

.venv-plugins/.done: pyproject.toml $(wildcard plugins/*/pyproject.toml)
	$(call install,.venv-plugins,-e ".[test]" $(foreach package,$(wildcard plugins/*/),-e ./$(package)))

.venv/.base: EXTRAS :=
.venv/.test: EXTRAS := [test]
.venv/.lint: EXTRAS := [lint,test]
.venv/.base .venv/.test .venv/.lint: pyproject.toml
	$(call install,.venv,-e ".$(EXTRAS)")

clean:
	rm -rf .venv .venv-plugins
