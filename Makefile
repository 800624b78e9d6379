PYTHON ?= python3
VENV := .venv
RUN := $(VENV)/bin/python

.PHONY: demo test lint format clean

# Else TensorFlow's error about CUDA, on machines without, would be read first.
demo: $(VENV)/.installed
	TF_CPP_MIN_LOG_LEVEL=3 $(RUN) examples/demo.py

test: $(VENV)/.installed
	$(RUN) -m pytest -n 2 --dist loadfile --no-loadscope-reorder

lint: $(VENV)/.installed
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .

format: $(VENV)/.installed
	$(RUN) -m ruff check --fix .
	$(RUN) -m ruff format .

# The stamp is written last, so an interrupted install is done again, and a
# finished one is reused until a requirement changes.
$(VENV)/.installed: requirements.txt pyproject.toml zoo/version.py
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(0 if (3, 11) <= v <= (3, 13) else "Python 3.11 to 3.13 is needed; $(PYTHON) is %d.%d. Name another: make PYTHON=python3.12 ..." % v)'
	$(PYTHON) -m venv $(VENV)
	$(RUN) -m pip install --quiet --disable-pip-version-check -r requirements.txt
	$(RUN) -m pip install --quiet --disable-pip-version-check --no-deps --editable .
	@touch $@

clean:
	rm -rf $(VENV) demo build packaging/client/build *.egg-info
