# make demo    detects objects in photographs; installs only the half without torch into .venv
# make test    installs everything into .venv and runs the linters and the tests
PYTHON ?= python3
PIP := .venv/bin/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

SHARED ?= ../shared
WEIGHTS := $(SHARED)/weights/darknet/yolo-fastest-1.1-xl
MODEL := .venv/demo/yolo-fastest-1.1-xl.onnx

.PHONY: demo test lint format clean

demo: .venv/runtime $(MODEL)
	.venv/bin/python examples/demo.py $(MODEL)

test: lint
	.venv/bin/python -m pytest

lint: .venv/everything
	.venv/bin/ruff check
	.venv/bin/ruff format --check
	.venv/bin/mypy

format: .venv/everything
	.venv/bin/ruff check --fix
	.venv/bin/ruff format

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
	$(PIP) --editable '.[train,openvino,dev]'
	touch $@ .venv/runtime

# onelook has no trained model of its own yet, so the demo converts a Darknet one, once, which needs torch: in an
# environment of its own, that is removed again.
$(MODEL): .venv/runtime
	@test -f $(WEIGHTS).weights || { echo "make demo: onelook brings no trained model yet; put the Darknet files \
	yolo-fastest-1.1-xl.cfg and .weights into $(SHARED)/weights/darknet, or run 'make demo WEIGHTS=path/without/suffix'"; \
	exit 1; }
	@echo "Converting $(WEIGHTS).weights, once; this needs torch, in .venv/convert, which is removed afterwards."
	$(PYTHON) -m venv .venv/convert
	.venv/convert/bin/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt \
	    --editable '.[train]'
	.venv/convert/bin/onelook convert $(WEIGHTS).cfg $(WEIGHTS).weights --names coco --output $@
	rm -rf .venv/convert
