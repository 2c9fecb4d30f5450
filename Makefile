# make          this list
# PYTHON=... and VENV=... choose the interpreter and the folder of the environment.
VENV ?= .venv
export PYTHON VENV
python := $(VENV)/bin/python
config := configs/upernet_van_b0_demo.py
run := work_dirs/upernet_van_b0_demo

.PHONY: help install demo test test-all lint format clean

help:
	@echo 'make install   make $(VENV); compiles mmcv once (8 to 20 minutes)'
	@echo 'make demo      install, then train, test and draw a network (4 minutes)'
	@echo 'make test      install, then lint and run the tests (9 minutes)'
	@echo 'make test-all  the same with the slow tests (25 minutes)'
	@echo 'make format    format the code'
	@echo 'make clean     remove what builds and tests left, no data or results'

install:
	@bash tools/install.sh

demo: install
	$(python) tools/make_demo_data.py data/demo_ade20k
	$(python) tools/train.py $(config) --seed 0
	$(python) tools/test.py $(config) $(run) --out $(run)/predictions
	$(python) tools/analysis_tools/draw_results.py $(config) $(run)/predictions demo.png

test: install lint
	$(python) -m pytest $(PYTEST_ARGS)

test-all: PYTEST_ARGS += -m "not gpu"
test-all: test

lint: install
	$(python) -m ruff check .
	$(python) -m ruff format --check .

format: install
	$(python) -m ruff check --fix .
	$(python) -m ruff format .

clean:
	rm -rf build *.egg-info .pytest_cache .ruff_cache demo.png
	find . -name __pycache__ -not -path './$(VENV)/*' -prune -exec rm -rf {} +
