# Two commands on a fresh machine: `make demo` and `make test`. Both make .venv on first use and reuse it after.

VENV := .venv
PYTHON := $(VENV)/bin/python
READY := $(VENV)/.ready
EVAL_VENV := .venv-eval
AUDIT_VENV := .venv-audit

.PHONY: demo test test-slow eval-env swift-env trainers-env lint lock audit sbom clean

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

eval-env: $(EVAL_VENV)/.ready ## lmms-eval, in an environment of its own: it wants other versions of what we use

$(EVAL_VENV)/.ready: requirements/eval-cpu.txt pyproject.toml
	test -x $(EVAL_VENV)/bin/python || python3 -m venv $(EVAL_VENV)
	$(EVAL_VENV)/bin/python -m pip install --quiet --no-deps -r requirements/eval-cpu.txt
	$(EVAL_VENV)/bin/python -c "import torch" 2>/dev/null || $(EVAL_VENV)/bin/python -m pip install --quiet "torch==2.13.0"
	$(EVAL_VENV)/bin/python -m pip install --quiet --no-deps --editable .
	touch $@

swift-env: .venv-swift/.ready ## ms-swift, for benchmarks/dpo.py: it wants another TRL than ours

.venv-swift/.ready: requirements/ms-swift.txt pyproject.toml
	test -x .venv-swift/bin/python || python3 -m venv .venv-swift
	.venv-swift/bin/python -m pip install --quiet --no-deps -r requirements/ms-swift.txt
	.venv-swift/bin/python -c "import torch" 2>/dev/null || .venv-swift/bin/python -m pip install --quiet "torch==2.13.0"
	.venv-swift/bin/python -m pip install --quiet --no-deps --editable .  # its mending of torchvision without a GPU
	touch $@

trainers-env: .venv-swift/.ready .venv-llamafactory/.ready ## The trainers of benchmarks/trainers.py, each in an environment of its own

.venv-llamafactory/.ready: requirements/llama-factory.txt pyproject.toml
	test -x .venv-llamafactory/bin/python || python3 -m venv .venv-llamafactory
	.venv-llamafactory/bin/python -m pip install --quiet --no-deps -r requirements/llama-factory.txt
	.venv-llamafactory/bin/python -c "import torch" 2>/dev/null || .venv-llamafactory/bin/python -m pip install --quiet "torch==2.13.0"
	.venv-llamafactory/bin/python -m pip install --quiet --no-deps --editable .  # its mending of torchvision without a GPU
	touch $@

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
lock: ## Solve the locks anew, keeping their versions where they still fit; needs uv. Delete a line to move a pin
	sed -i '/^torch==/d' requirements/cpu.txt requirements/eval-cpu.txt
	$(UV) --extra cpu --extra dev --override requirements/cpu-overrides.txt --python-version 3.11 -o requirements/cpu.txt
	$(UV) --extra cpu --extra eval --override requirements/cpu-overrides.txt --python-version 3.11 -o requirements/eval-cpu.txt
	sed -i 's/+cpu$$//' requirements/cpu.txt requirements/eval-cpu.txt
	env -u UV_FIND_LINKS $(UV) --extra gpu --extra dev --python-version 3.12 -o requirements/gpu.txt
	env -u UV_FIND_LINKS $(UV) --extra gpu --extra eval --python-version 3.12 -o requirements/eval-gpu.txt

$(AUDIT_VENV)/.ready: requirements/audit.txt
	test -x $(AUDIT_VENV)/bin/python || python3 -m venv $(AUDIT_VENV)
	$(AUDIT_VENV)/bin/python -m pip install --quiet --no-deps -r requirements/audit.txt
	touch $@

# Strict: a package that the advisories' server does not know is a failure, not a clean one.
audit: $(AUDIT_VENV)/.ready ## Known vulnerabilities of what the locks pin, by the package registry's advisories
	$(AUDIT_VENV)/bin/pip-audit --strict --disable-pip --no-deps --vulnerability-service pypi -r requirements/cpu.txt
	$(AUDIT_VENV)/bin/pip-audit --strict --disable-pip --no-deps --vulnerability-service pypi -r requirements/gpu.txt

sbom: $(READY) $(AUDIT_VENV)/.ready ## What is installed in .venv, as CycloneDX, in dist/sbom.cdx.json
	mkdir -p dist
	$(AUDIT_VENV)/bin/cyclonedx-py environment $(PYTHON) --pyproject pyproject.toml --output-reproducible -o dist/sbom.cdx.json

clean: ## Remove what the demo made
	rm -rf .demo
