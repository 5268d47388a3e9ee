# SPDX-License-Identifier: Apache-2.0
# Every target sets up what it needs; the second time that takes no time.

PYTHON = .venv/bin/python
READY = .venv/.ready

.PHONY: demo test test-kubernetes check bench compare figures clean real-parts

# The main job, step by step, on a real host; OFFLINE=1: without root, in a folder.
demo: $(READY) $(if $(OFFLINE),,real-parts)
	@$(PYTHON) -m scripts.demo $(if $(OFFLINE),--offline)

# Everything, as CI runs it. As root on Debian with the real parts; elsewhere those are skipped and counted.
test: $(READY) real-parts
	@$(PYTHON) -m scripts.test

# All of a cluster's life: nodes on real machines, with every reboot, power cut and broken version. KUBERNETES_BIN_DIR
# names the folder with Kubernetes' programs.
test-kubernetes: $(READY) real-parts
	@$(PYTHON) -m pytest --long tests/vm tests/system/test_kubernetes.py tests/docs/test_page_kubernetes.py

# The quick half.
check: $(READY)
	@$(PYTHON) -m ruff check
	@$(PYTHON) -m ruff format --check
	@$(PYTHON) -m mypy
	@$(PYTHON) -m pytest -q tests/unit tests/contract tests/flow -m "not real and not slow"

# Figures, never a verdict. BENCH="--minutes 20" begins no row later, BENCH=--continue measures the rest.
bench: $(READY)
	@scripts/real-parts docker.io umoci ostree busybox-static rsync zstd
	@$(PYTHON) -m tests.bench.bench --write $(BENCH)

# The same jobs for ashore and for what one would use instead, on booted hosts.
compare: $(READY)
	@scripts/real-parts busybox-static bash-static ansible-core openssh-client
	@$(PYTHON) -m tests.compare --write

# Everything that is promised, tried in full, and docs/reliability.md's tables written from it. Takes two hours; broken off,
# it goes on where it was.
figures: $(READY) real-parts
	@$(PYTHON) -m tests.figures --continue --write

# What can be made again. A host of a running test is not walked into.
clean:
	rm -rf build dist .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis src/*.egg-info
	find scripts src tests -name __pycache__ -prune -exec rm -rf {} +
	rm -rf --one-file-system .lab

real-parts:
	@scripts/real-parts

$(READY): pyproject.toml scripts/setup
	@scripts/setup
	@touch $@

# ashore as one folder that needs no Python on the host: dist/ashore (packaging/self-contained).
.PHONY: self-contained
self-contained: $(READY) $(if $(HERE),,real-parts)
	@packaging/self-contained $(if $(HERE),--here)
