# `make demo` and `make test` start from nothing: they make a virtual environment and fill it.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

.PHONY: demo test lint docs bench bench-full dist smoke smoke-oldest test-oldest test-scanpy clean

$(VENV)/.plot: pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet -e ".[plot]"
	touch $@

$(VENV)/.test: pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet -e ".[test]"
	touch $@

demo: $(VENV)/.plot
	$(BIN)/serverless-tsne demo --force

test: $(VENV)/.test
	$(BIN)/python -m pytest -n auto

lint: $(VENV)/.test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# The same suite on the oldest versions pyproject.toml allows.
test-oldest:
	$(MAKE) test VENV=.venv-oldest PIP_CONSTRAINT=tests/oldest.txt

# What is tested beside scanpy, which holds pandas and anndata back to older versions.
test-scanpy:
	test -x $(VENV)-scanpy/bin/python || $(PYTHON) -m venv $(VENV)-scanpy
	$(VENV)-scanpy/bin/python -m pip install --quiet --upgrade pip
	$(VENV)-scanpy/bin/python -m pip install --quiet -e ".[test-scanpy]"
	$(VENV)-scanpy/bin/python -m pytest tests/test_anndata.py "tests/test_docs.py::test_examples_run[scanpy.md]"

$(VENV)/.docs: pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet -e ".[docs]"
	touch $@

# Into docs/_build/html; the scripts of the gallery are run. A warning is an error.
docs: $(VENV)/.docs
	$(BIN)/sphinx-build -W --keep-going -q -b html docs docs/_build/html

# Wheel and sdist, built twice: the same commit gives the same bytes.
dist:
	test -x $(VENV)-dist/bin/python || $(PYTHON) -m venv $(VENV)-dist
	$(VENV)-dist/bin/python -m pip install --quiet --upgrade pip build
	rm -rf dist build/again
	$(VENV)-dist/bin/python -m build --outdir dist . > /dev/null
	$(VENV)-dist/bin/python -m build --outdir build/again . > /dev/null
	for file in dist/*; do cmp $$file build/again/$${file##*/} || exit 1; done
	ls -l dist

# The built wheel in an environment of its own, away from the sources; and on the oldest dependencies.
smoke: dist
	rm -rf $(VENV)-smoke build/smoke
	$(PYTHON) -m venv $(VENV)-smoke
	$(VENV)-smoke/bin/python -m pip install --quiet $$(echo dist/*.whl)"[plot]"
	mkdir -p build/smoke
	cd build/smoke && $(abspath $(VENV)-smoke)/bin/python ../../tests/smoke.py

smoke-oldest:
	$(MAKE) smoke VENV=$(VENV)-oldest PIP_CONSTRAINT=$(CURDIR)/tests/oldest.txt

# Every benchmark, small, in about a quarter of an hour on two cores; then benchmarks/results/report-quick.html.
bench: $(VENV)/.test
	$(BIN)/python -m benchmarks --quick

# What the committed tables lack, for hours (`python -m benchmarks --fresh`: everything again); then report.html.
bench-full: $(VENV)/.test
	$(BIN)/python -m benchmarks

clean:
	rm -rf .venv .venv-* build dist demo.npy demo.png docs/_build docs/api docs/gallery
