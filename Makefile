# make demo    install the analysis half into .venv, read a clip, leave a report
# make test    install everything into the same .venv, run the whole suite
# make check   lint, types, layers        make bench   docs/benchmarks.md    make docs   docs/reference.md
# make fuzz MINUTES=60 SUMMARY=fuzz.txt    damaged inputs (docs/fuzzing.md); make fuzz CASE=media:17
PYTHON ?= python3
VIDEO ?= examples/portrait.mp4
OUT ?= demo-report
MINUTES ?= 10
SUMMARY ?= fuzz.txt
BIN := .venv/bin
# Some tests and benchmarks import onnxruntime before emoscope, which switches this off elsewhere.
export ORT_DISABLE_TELEMETRY := 1
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt

.PHONY: demo test fuzz check format bench docs sample clean

demo: .venv/core
	$(BIN)/emoscope analyze "$(VIDEO)" --out "$(OUT)" --format json,csv,html,mp4
	@echo "Open $(OUT)/$(basename $(notdir $(VIDEO))).html in a browser."

# Without pytest-xdist: one of two workers was seen to end without a word while the other ran.
test: .venv/full
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest

fuzz: .venv/full
	OMP_NUM_THREADS=1 PYTHONPATH=tests $(BIN)/python -m fuzz --minutes $(MINUTES) \
	  --summary "$(SUMMARY)" $(if $(CASE),--case $(CASE))

check: .venv/full
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python .ci/check_docstrings.py src tests benchmarks examples docs

format: .venv/full
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: .venv/full
	$(BIN)/python benchmarks/all.py

docs: .venv/full
	$(BIN)/python docs/make_reference.py

sample: .venv/full
	$(BIN)/python examples/make_portrait.py examples/portrait.mp4

.venv/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Emoscope needs Python 3.11 or newer: make PYTHON=/path/to/python3.11"; exit 1; }
	$(PYTHON) -m venv .venv

.venv/core: .venv/bin/python pyproject.toml constraints.txt
	$(PIP) -e .
	@touch $@

.venv/full: .venv/bin/python pyproject.toml constraints.txt packages/emoscope-voice/pyproject.toml
	$(PIP) -e '.[train,audio,openvino,pandas,dev]' -e packages/emoscope-voice
	@touch $@ .venv/core

clean:
	rm -rf .venv demo-report
