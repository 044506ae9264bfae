# make demo    detects objects in photographs; installs only the half without torch into .venv
# make test    installs everything into .venv and runs the linters and the tests
# make package builds the wheel and the sdist into dist, and tries the wheel in empty environments
PYTHON ?= python3
PIP := .venv/bin/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

.PHONY: demo test lint format package clean

demo: .venv/runtime
	.venv/bin/python examples/demo.py

test: lint
	.venv/bin/python -m pytest --numprocesses logical --maxprocesses 4 --dist worksteal

lint: .venv/everything
	.venv/bin/ruff check
	.venv/bin/ruff format --check
	.venv/bin/mypy

format: .venv/everything
	.venv/bin/ruff check --fix
	.venv/bin/ruff format

package: .venv/everything
	.venv/bin/python tests/check_package.py dist

clean:
	rm -rf .venv runs dist

.venv/bin/python:
	$(PYTHON) -m venv .venv

# The photographs of the demo are in the wheel of scikit-image; its own dependencies are not needed for them.
.venv/runtime: .venv/bin/python pyproject.toml constraints.txt
	$(PIP) --editable .
	$(PIP) --no-deps scikit-image
	touch $@

.venv/everything: .venv/bin/python pyproject.toml constraints.txt
	$(PIP) --editable '.[train,openvino,serve,scale,dev]'
	-.venv/bin/python hatch_build.py  # from the npm registry; without it tests of the page in the browser alone skip
	touch $@ .venv/runtime
