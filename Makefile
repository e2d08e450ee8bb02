# Two commands from a fresh clone do everything: `make demo` and `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Files in their order: the last ones are short, so that no process waits for another one's long file at the end.
# Two PyTorch processes with several threads each wait for each other; one thread a process does not.
TEST_THREADS := OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 TOKENIZERS_PARALLELISM=false

.PHONY: demo test check format bench clean

$(VENV)/ready: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev,transfer]'
	touch $@

demo: $(VENV)/ready
	$(BIN)/lamina demo table

test: $(VENV)/ready
	$(TEST_THREADS) $(BIN)/python -m pytest -n auto --dist loadfile --no-loadscope-reorder

check: $(VENV)/ready
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: $(VENV)/ready
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# `make bench DATA=FOLDER NAMES="speed peers"`; without names every benchmark, which takes days.
bench: $(VENV)/ready
	$(BIN)/python -m bench $(if $(DATA),all --data $(DATA) $(NAMES),)

clean:
	rm -rf $(VENV) build dist src/*.egg-info .pytest_cache .mypy_cache .ruff_cache
