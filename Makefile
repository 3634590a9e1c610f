PYTHON ?= python3
VENV   ?= .venv
TORCH  ?= $(shell grep ^torch== requirements.lock)
BIN    := $(VENV)/bin

.PHONY: demo test install-check lab docs gallery lock clean

demo: $(VENV)/.installed
	$(BIN)/mibench demo

test: $(VENV)/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	@$(BIN)/mypy & types=$$!; $(BIN)/pytest; tests=$$?; wait $$types && exit $$tests

# A wheel in a fresh environment from pip's own registry, to the first moved slider, with times.
install-check: $(VENV)/.installed
	TORCH='$(TORCH)' $(BIN)/pytest -n 0 -s -m install tests/test_wheel.py

lab: $(VENV)/.installed
	$(BIN)/mibench lab

docs: $(VENV)/.installed
	$(BIN)/python -m pip install -q -c requirements.lock -e ".[docs]"
	$(BIN)/mkdocs build

# The demo's notebooks with what they print and draw, for the documentation.
gallery: $(VENV)/.installed
	$(BIN)/mibench demo build/gallery
	cd build/gallery/executed/noisy_digits && $(abspath $(BIN))/jupyter nbconvert --to markdown \
		--TagRemovePreprocessor.enabled=True \
		--TagRemovePreprocessor.remove_cell_tags=injected-parameters \
		--output-dir $(abspath docs/gallery) rq4_withheld.ipynb cost.ipynb
	rm -r docs/gallery/*_files # the pictures are in the pages
	sed -i 's/[ \t]*$$//' docs/gallery/*.md

# Torch first, so that a build of one's own choice stands: make TORCH=path/to/torch.whl
$(VENV)/.installed: pyproject.toml requirements.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "MIBench needs Python 3.11 or newer: make PYTHON=python3.11 ..."; exit 2; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q -c requirements.lock $(TORCH)
	$(BIN)/python -m pip install -q -r requirements.lock
	$(BIN)/python -m pip install -q --no-deps -e .
	@touch $@

# Needs uv; versions that still fit are kept. What torch pins itself is left to torch: its CPU build
# has none of it.
lock:
	uv pip compile pyproject.toml --extra dev --universal --python-version 3.11 --quiet \
		--no-emit-index-url --no-annotate --custom-compile-command "make lock" -o requirements.lock
	grep -vE '^(cuda-|nvidia-|triton=)' requirements.lock > requirements.lock.new
	mv requirements.lock.new requirements.lock

clean:
	rm -rf $(VENV)
