# Each target works from a bare checkout: uv where present, else venv + pip.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test slow lint clean

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

clean:
	rm -rf .venv

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
