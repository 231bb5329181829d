# `make` alone lists the targets. Every target that needs Python first sets up .venv, once: see setup.sh.
# PYTHON=3.13, say, chooses that version, in an environment of its own; without it 3.11 is taken where it is there.
PYTHON :=
ARGS ?=
venv := .venv$(addprefix -,$(PYTHON))
python := $(venv)/bin/python
uv := $(venv)/bin/uv

# A PYTHONPATH from outside would put other versions before the locked ones.
unexport PYTHONPATH PYTHONHOME

.PHONY: help run app data check sweep test test-slurm lint audit reliability bench bench-peers attack-peers simulation scaling images notebooks lock clean
.DEFAULT_GOAL := help

help:  ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 12

$(venv)/.installed: requirements.lock setup.sh
	@bash setup.sh $(venv) requirements.lock $(or $(PYTHON),3.11 3.12 3.13)

.venv-sweep/.installed: workflow/requirements.lock setup.sh
	@bash setup.sh .venv-sweep workflow/requirements.lock 3.11 3.12 3.13

run: $(venv)/.installed  ## run the chain on public people; with ARGS="--recordings DIR" on real ones
	$(python) run.py $(ARGS)

STUDY ?= wesad
data: $(venv)/.installed  ## fetch public recordings, WESAD's 2 GB or STUDY=stress_predict, into data/; or ARGS="--to DIR"
	$(python) -m wearsynth.downloads $(STUDY) $(ARGS)

SHARE ?= runs/public-default/share
check: $(venv)/.installed  ## check what somebody has handed over: SHARE=FOLDER
	$(python) -m wearsynth.share "$(SHARE)"

GRID ?= workflow/grids/example.yaml
sweep: $(venv)/.installed .venv-sweep/.installed  ## run a grid of runs: GRID=FILE ARGS="--recordings DIR --profile slurm"
	$(python) -m workflow.sweep $(GRID) $(ARGS)

test: $(venv)/.installed  ## run the tests; with ARGS="-k NAME" some of them, with ARGS="-m slow" those of minutes each
	@$(MAKE) --no-print-directory .venv-sweep/.installed || echo "Tests that run Snakemake are skipped"
	$(python) -m pytest --numprocesses auto --dist loadfile --no-loadscope-reorder $(ARGS)

test-slurm: $(venv)/.installed .venv-sweep/.installed  ## run a sweep on a SLURM cluster of one node, started on this machine
	$(python) -m pytest -rs tests/check_slurm.py $(ARGS)

lint: $(venv)/.installed  ## check style and the notebooks' form, changing nothing
	$(python) -m ruff check .
	$(python) -m ruff format --check .
	$(python) tests/check_notebooks.py $(wildcard *.ipynb)

audit: $(venv)/.installed  ## measure with canaries how much the training gives away
	$(python) -m benchmarks.audit

bench: $(venv)/.installed  ## measure time and memory of a discriminator step, beside tensorflow-privacy; and start-up of a job
	$(python) -m benchmarks.discriminator_step
	$(python) -m benchmarks.memory
	$(python) -m benchmarks.startup

simulation: $(venv)/.installed  ## estimate how simulated signals are disturbed, from public people, and test that against others
	$(python) -m benchmarks.simulation

scaling: $(venv)/.installed  ## measure what a study of 15 to 1,500 people can expect, on simulated people unlike those that generators begin with
	$(python) -m benchmarks.scaling

attack-peers: $(venv)/.installed .venv-attack-peers/.installed  ## attack with Anonymeter and tsgm what a run learns: ARGS=RUN
	$(python) -m benchmarks.attack_peers $(ARGS)

bench-peers: $(venv)/.installed .venv-peers/.installed  ## measure the same step with Opacus and JAX, in an environment of their own
	$(python) -m benchmarks.peers

.venv-%/.installed: benchmarks/%-requirements.txt | $(venv)/.installed
	rm -rf .venv-$*
	$(python) -m venv .venv-$*
	.venv-$*/bin/python -m pip install --disable-pip-version-check --quiet -r $<
	touch $@

images: run  ## remake the pictures of the README from that run
	cp $(addprefix runs/public-default/figures/,example_windows.png scores_by_subject.png synthetic_person.png) images/

reliability: $(venv)/.installed .venv-sweep/.installed  ## damage inputs, kill runs, fill disks, mark a person: about an hour, as root
	$(python) -m reliability.fuzz
	$(python) -m reliability.marked_person
	$(python) -m reliability.full_disk
	$(python) -m reliability.kills

app: $(venv)/.installed  ## choose recordings and a promise on a page in the browser, run, and take the folder home
	$(python) -m marimo run app.py

notebooks: $(venv)/.installed  ## open the notebooks in JupyterLab
	$(python) -m jupyterlab $(ARGS)

lock: $(venv)/.installed  ## remake both locks
	$(uv) pip compile pyproject.toml --group dev --universal --python-version 3.11 --upgrade --generate-hashes \
		--no-emit-index-url --custom-compile-command "make lock" --quiet --output-file requirements.lock
	$(uv) pip compile workflow/requirements.txt --no-config --universal --python-version 3.11 --upgrade --generate-hashes \
		--no-emit-index-url --custom-compile-command "make lock" --quiet --output-file workflow/requirements.lock

clean:  ## remove .venv and caches; recordings, runs and figures stay
	rm -rf data/cache .venv .venv-3.* .venv-sweep .venv-peers .venv-attack-peers .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
