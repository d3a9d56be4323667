# Everything a fresh machine needs is installed by the first target that needs it.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
DEMO := phantom/demo
RESOLUTION ?= lowest-direct
VERSIONS := .venv-versions

# Debian's packages, where they may be installed
apt = { test "$$(id -u)" = 0 && apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends $(1); }
# what follows where they are missing: nobody would notice a skip in CI
missing = { echo "$(1)"; test "$$CI" != true; }

.DEFAULT_GOAL := help
.PHONY: help demo test check docs drill benchmark-smoke versions clean

help: ## show this
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-15s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(VENV)/installed $(DEMO)/labels.csv ## a synthetic cohort, five folds, the report: minutes on two CPU cores
	$(BIN)/python jobs/launch_cv.py --config configs/lesions.yaml --cluster.kind local
	$(BIN)/python jobs/report.py runs/lesions

test: $(VENV)/installed slurm h5dump sshd dicom3tools ## all tests that guard the product, on a real SLURM where root and apt allow
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder -m "not drill and not timed"  # each half with a SLURM
	$(BIN)/python -m pytest -m timed

check: $(VENV)/installed ## lint, format, types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: $(VENV)/installed ## update the tables of docs/ and build the website in build/site
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[docs]"
	$(BIN)/python docs/site/tables.py
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet --strict -f docs/site/mkdocs.yml

ifeq ($(SLURM),)
drill: $(VENV)/installed slurm h5dump sshd browser latex viewers ## the long fault drills on a real SLURM; SLURM=trixie: of another Debian
	$(BIN)/python -m pytest -m drill
else
drill: # what needs a SLURM, quick and long, on that of another Debian release, with the Python that comes with it
	$(PYTHON) slurm/dev/cluster.py install --release $(SLURM)
	$(PYTHON) slurm/dev/cluster.py run --release $(SLURM) -- $(MAKE) inside SLURM= PYTHON=python3 VENV=/var/lib/cac_hpc/venv
endif

benchmark-smoke: $(VENV)/installed ## each benchmark on tiny input: that it runs, not how fast anything is
	$(MAKE) --jobs=2 smoke-rows smoke-training

.PHONY: smoke-rows smoke-training
smoke-rows:
	$(BIN)/python jobs/benchmark.py rows --tiny --rounds 1 --out build/smoke
	$(BIN)/python jobs/benchmark.py trials --studies 12 --trials 1 --whole 0 --lengths 0

smoke-training:
	$(BIN)/python jobs/benchmark.py gpu --device cpu --tiny --minutes 5 --out build/smoke
	$(BIN)/python jobs/benchmark.py train --device cpu --studies 12 --slices 10 --size 32 --seconds 0.2 --repeats 1
	$(BIN)/python jobs/benchmark.py lesions --studies 12 --repeats 1 --steps 1 --batch 2

versions: ## the tests that need no SLURM with the oldest packages that setup.py admits, or RESOLUTION=highest; PYTHON=...
	$(PYTHON) -m venv --clear $(VERSIONS)
	$(VERSIONS)/bin/python -m pip install --quiet --disable-pip-version-check uv
	VIRTUAL_ENV=$(VERSIONS) $(VERSIONS)/bin/uv pip install --quiet --compile-bytecode --resolution $(RESOLUTION) -e ".[test]"
	VIRTUAL_ENV=$(VERSIONS) $(VERSIONS)/bin/uv pip list
	CAC_TEST_SLURM=none $(VERSIONS)/bin/python -m pytest -n 2 --dist loadfile -m "not drill and not timed" \
		-W default::DeprecationWarning -W default::FutureWarning  # old packages on new ones: theirs, not ours

clean: ## remove the environment and what the tools left; runs/ and phantom/ stay
	rm -rf $(VENV) $(VERSIONS) build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis

.PHONY: inside
inside: $(VENV)/installed # the root of another release, whose environment may have served another checkout
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps -e .
	$(BIN)/python -m pytest -m slurm

.PHONY: slurm
slurm:
	@$(PYTHON) slurm/dev/cluster.py install || $(call missing,no SLURM here: the tests that need one are skipped and say so)

.PHONY: h5dump
h5dump: # by which a test opens shards from outside
	@command -v h5dump > /dev/null || $(call apt,hdf5-tools) \
		|| $(call missing,no h5dump here: the test that needs it is skipped and says so)

.PHONY: dicom3tools
dicom3tools: # which validates the DICOM objects that we write
	@command -v dciodvfy > /dev/null || $(call apt,dicom3tools) \
		|| $(call missing,no dciodvfy here: the tests that need it are skipped and say so)

.PHONY: viewers
viewers: $(VENV)/installed # which read the DICOM objects that we write
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[viewers]" \
		|| $(call missing,no dcmqi here: the drill that needs it is skipped and says so)

.PHONY: sshd
sshd: # from which tests fetch reports
	@test -n "$$(PATH="$$PATH:/usr/sbin" command -v sshd)" || $(call apt,openssh-client openssh-server) \
		|| $(call missing,no sshd here: the tests that need it are skipped and say so)

.PHONY: browser
browser: # in which the report's page is checked
	@{ { command -v chromium && command -v npm; } > /dev/null || $(call apt,chromium npm); } \
		&& npm install --silent --prefix $(VENV) axe-core@4 \
		|| $(call missing,no browser here: the drills that need one are skipped and say so)

.PHONY: latex
latex: # which typesets the tables for papers
	@command -v pdflatex > /dev/null || $(call apt,texlive-latex-base texlive-latex-recommended) \
		|| $(call missing,no LaTeX here: the drill that needs it is skipped and says so)

$(VENV)/installed: setup.py constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[test,check,dicom,onnx,converters]"
	@touch $@

$(DEMO)/labels.csv: | $(VENV)/installed
	$(BIN)/python jobs/make_phantom.py --out $(DEMO) --studies 68 --slices 12 --matrix 128 \
		--field_of_view_mm 160 --easy
