# Everything a fresh machine needs is installed by the first target that needs it.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
DEMO := phantom/demo

.DEFAULT_GOAL := help
.PHONY: help demo test check drill clean

help: ## show this
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(VENV)/installed $(DEMO)/labels.csv ## a synthetic cohort, five folds, the report: minutes on two CPU cores
	$(BIN)/python jobs/launch_cv.py --config configs/demo.yaml --cluster.kind local
	$(BIN)/python jobs/report.py runs/demo

test: $(VENV)/installed slurm h5dump sshd ## all tests that guard the product, on a real SLURM where root and apt allow
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder -m "not drill and not timed"  # each half with a SLURM
	$(BIN)/python -m pytest -m timed

check: $(VENV)/installed ## lint, format, types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

ifeq ($(SLURM),)
drill: $(VENV)/installed slurm h5dump sshd browser latex ## the long fault drills on a real SLURM; SLURM=trixie: of another Debian
	$(BIN)/python -m pytest -m drill
else
drill: # what needs a SLURM, quick and long, on that of another Debian release, with the Python that comes with it
	$(PYTHON) slurm/dev/cluster.py install --release $(SLURM)
	$(PYTHON) slurm/dev/cluster.py run --release $(SLURM) -- $(MAKE) inside SLURM= PYTHON=python3 VENV=/var/lib/cac_hpc/venv
endif

clean: ## remove the environment and what the tools left; runs/ and phantom/ stay
	rm -rf $(VENV) build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis

.PHONY: inside
inside: $(VENV)/installed # the root of another release, whose environment may have served another checkout
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps -e .
	$(BIN)/python -m pytest -m slurm

.PHONY: slurm
slurm:
	@$(PYTHON) slurm/dev/cluster.py install || echo "no SLURM here: the tests that need one are skipped, and say so"

.PHONY: h5dump
h5dump: # by which a test opens shards from outside
	@command -v h5dump > /dev/null \
		|| { apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends hdf5-tools; } \
		|| echo "no h5dump here: the test that needs it is skipped, and says so"

.PHONY: sshd
sshd: # from which tests fetch reports
	@test -n "$$(PATH="$$PATH:/usr/sbin" command -v sshd)" \
		|| { apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends \
			openssh-client openssh-server; } \
		|| echo "no sshd here: the tests that need it are skipped, and say so"

.PHONY: browser
browser: # in which the report's page is checked
	@{ command -v chromium > /dev/null \
		|| { apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends chromium npm; }; } \
		&& npm install --silent --prefix $(VENV) axe-core@4 \
		|| echo "no browser here: the drills that need one are skipped, and say so"

.PHONY: latex
latex: # which typesets the tables for papers
	@command -v pdflatex > /dev/null \
		|| { apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends \
			texlive-latex-base texlive-latex-recommended; } \
		|| echo "no LaTeX here: the drill that needs it is skipped, and says so"

$(VENV)/installed: setup.py constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[test]"
	@touch $@

$(DEMO)/labels.csv: | $(VENV)/installed
	$(BIN)/python jobs/make_phantom.py --out $(DEMO) --studies 68 --slices 12 --matrix 128 \
		--field_of_view_mm 160 --easy
