# Each target works from a bare checkout: uv where present, else venv + pip.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
EXTRA ?= test

.PHONY: demo test lint install clean

install: $(BIN)/.$(EXTRA)

$(BIN)/.%: pyproject.toml
	@if command -v uv >/dev/null 2>&1; then \
		test -x $(BIN)/python || uv venv --quiet $(VENV); \
		uv pip install --quiet --python $(BIN)/python -e ".[$*]"; \
	else \
		test -x $(BIN)/pip || $(PYTHON) -m venv $(VENV); \
		$(BIN)/pip install --quiet -e ".[$*]"; \
	fi
	@touch $@

demo:
	@$(MAKE) --no-print-directory install EXTRA=demo
	@$(BIN)/polzoo demo

test:
	@$(MAKE) --no-print-directory install EXTRA=test
	$(BIN)/python -m pytest

lint:
	@$(MAKE) --no-print-directory install EXTRA=lint
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright

clean:
	rm -rf $(VENV)
