# Two commands on a fresh machine: `make demo` and `make test`. Both make .venv on first use and reuse it after.

VENV := .venv
PYTHON := $(VENV)/bin/python
READY := $(VENV)/.ready

.PHONY: demo test test-slow lint lock clean

$(READY): requirements/cpu.txt pyproject.toml videopasta-torchvision.pth
	python3 -c 'import sys; sys.exit(None if (3, 11) <= sys.version_info < (3, 14) else "videopasta needs Python 3.11 to 3.13")'
	test -x $(PYTHON) || python3 -m venv $(VENV)
	$(PYTHON) -m pip install --quiet --no-deps -r requirements/cpu.txt
	# The registry's Linux build of torch wants its CUDA packages even on a machine without a GPU.
	$(PYTHON) -c "import torch" 2>/dev/null || $(PYTHON) -m pip install --quiet "torch==2.13.0"
	$(PYTHON) -m pip install --quiet --no-deps --editable .
	touch $@

demo: $(READY) ## The whole road on clips made on the spot: preference pairs in .demo/pairs, held against the truth
	$(VENV)/bin/videopasta demo

test: $(READY) ## The default suite
	$(PYTHON) -m pytest

test-slow: $(READY) ## What takes too long for it
	$(PYTHON) -m pytest -m slow

lint: $(READY) ## Format, lint, types
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/ruff check .
	$(VENV)/bin/mypy

UV := uv pip compile pyproject.toml --quiet --no-header --no-emit-index-url --no-emit-find-links

# The CPU lock wants a CPU wheel of torch in UV_FIND_LINKS: the registry's own build would pull its CUDA packages in.
lock: ## Solve both locks anew, keeping their versions where they still fit; needs uv. Delete a line to move a pin
	sed -i '/^torch==/d' requirements/cpu.txt
	$(UV) --extra cpu --extra dev --override requirements/cpu-overrides.txt --python-version 3.11 -o requirements/cpu.txt
	sed -i 's/+cpu$$//' requirements/cpu.txt
	env -u UV_FIND_LINKS $(UV) --extra gpu --extra dev --python-version 3.12 -o requirements/gpu.txt

clean: ## Remove what the demo made
	rm -rf .demo
