# make          this list
# PYTHON=... and VENV=... choose the interpreter and the folder of the environment.
VENV ?= .venv
export PYTHON VENV
python := $(VENV)/bin/python

# What `make demo TASK=...` trains, and the layout of its data.
TASK ?= segmentation
segmentation := upernet ade20k
detection := retinanet coco
instance := mask_rcnn coco
panoptic := panoptic_fpn coco
pose := simple_baseline pose
classification := classifier imagenet
tasks := segmentation detection instance panoptic pose classification
name := $(firstword $($(TASK)))_van_b0_demo
layout := $(lastword $($(TASK)))
config := configs/$(name).py
run := work_dirs/$(name)

# What `make bench` measures, for some minutes on one core.
benchmarks := op backbone train infer data eval export
results := work_dirs/bench

.PHONY: help install demo unknown-task test test-all bench docs lint format clean

help:
	@echo 'make install   make $(VENV); compiles mmcv once (8 to 20 minutes)'
	@echo 'make demo      install, then train, test and draw a network (4 minutes);'
	@echo '               TASK=detection|instance|panoptic|pose|classification: others'
	@echo 'make test      install, then lint and run the tests, two at a time'
	@echo 'make test-all  the same with the slow tests'
	@echo 'make bench     install, then measure a little of everything, on one core'
	@echo 'make docs      install, then build the site of docs/ in site/'
	@echo 'make format    format the code'
	@echo 'make clean     remove what builds and tests left, no data or results'

install:
	@bash tools/install.sh

demo: $(if $(filter $(TASK),$(tasks)),install,unknown-task)
	$(python) tools/make_demo_data.py data/demo_$(layout) --layout $(layout)
	$(python) tools/train.py $(config) --seed 0
	$(python) tools/test.py $(config) $(run) --out $(run)/predictions
	$(python) tools/analysis_tools/draw_results.py $(config) $(run)/predictions demo.png

unknown-task:
	@echo 'error: TASK=$(TASK) is none of: $(tasks)' >&2; exit 2

test: install lint
	$(python) -m pytest -n 2 --dist worksteal $(PYTEST_ARGS)

test-all: PYTEST_ARGS += -m "not gpu and not every_size" --durations=40
test-all: test

bench: install $(benchmarks:%=bench-%)

bench-%:
	OMP_NUM_THREADS=1 $(python) tools/analysis_tools/benchmark.py $* --short \
		--json $(results)/$*.json --plot $(results)/$*.png

# Material for MkDocs advertises on each build.
docs: install
	NO_MKDOCS_2_WARNING=1 $(python) -m mkdocs build --strict

lint: install
	$(python) -m ruff check .
	$(python) -m ruff format --check .

format: install
	$(python) -m ruff check --fix .
	$(python) -m ruff format .

clean:
	rm -rf build site *.egg-info .pytest_cache .ruff_cache demo.png
	find . -name __pycache__ -not -path './$(VENV)/*' -prune -exec rm -rf {} +
