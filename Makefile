# Each target does its own set-up on a fresh Debian machine with Rust.

SHELL := /bin/bash
GLAVITU := target/release/glavitu
# Mesa's device-selection layer looks for a display and complains where there is none.
export NODEVICE_SELECT := 1
# Root needs no sudo; elsewhere it asks.
SUDO := $(shell [ "$$(id -u)" = 0 ] || echo sudo)

.PHONY: help build check test full oracle bench peers demo adapter

help: ## This list
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-8s %s\n", $$1, $$2}'

build: ## The program, target/release/glavitu
	cargo build --release --locked

check: ## Format, lints and documentation, all without a warning
	cargo fmt --check
	cargo clippy --release --locked --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --release --locked --no-deps

test: adapter ## All tests, on a GPU if there is one, else on Mesa's software adapter
	cargo test --release --locked

full: adapter ## The slow tests too: the published size, real scenes
	GLAVITU_FULL=1 cargo test --release --locked -- --nocapture

ORACLE := tests/oracle/venv/bin/python

oracle: build $(ORACLE) ## Hold warping and the like against GDAL and others (needs python3 with venv, and PyPI)
	@failed=0; for script in tests/oracle/*.py; do \
	  echo "== $$script"; $(ORACLE) $$script $(GLAVITU) || failed=1; \
	done; exit $$failed

$(ORACLE): tests/oracle/requirements.txt
	python3 -m venv tests/oracle/venv
	tests/oracle/venv/bin/pip install --quiet --requirement $<
	@touch $@

bench: ## Time every operator and the network on the CPU (criterion)
	cargo bench --locked

peers: adapter ## Compare with ONNX Runtime and burn: make peers PEERS="--device llvmpipe"; benches/peers/README.md
	benches/peers/run.sh $(PEERS)

# A Vulkan adapter on Linux: what is there, else Mesa's lavapipe.
adapter:
	@if [ "$$(uname)" = Linux ] && { ! /sbin/ldconfig -p | grep -q 'libvulkan\.so\.1' \
	    || ! ls /usr/share/vulkan/icd.d/*.json /etc/vulkan/icd.d/*.json >/dev/null 2>&1; } \
	    && [ -z "$$VK_DRIVER_FILES$$VK_ICD_FILENAMES" ]; then \
	  echo "No Vulkan adapter: installing Debian's mesa-vulkan-drivers"; \
	  $(SUDO) apt-get update -qq && $(SUDO) apt-get install -y -qq libvulkan1 mesa-vulkan-drivers; \
	fi

DEMO_MODEL := datasets/models/small.safetensors

demo: build ## Map a generated scene and score the map; leaves pictures in demo/result
	@mkdir -p demo
	$(GLAVITU) dataset synthetic --scene --size 1024 --seed 1 -o demo/scene
	$(GLAVITU) predict --model $(DEMO_MODEL) --optical demo/scene/optical.tif \
	    --elevation demo/scene/elevation.tif --smoothing 3 -o demo/result
	$(GLAVITU) evaluate --predicted demo/result/outlines.tif --reference demo/scene/truth.tif \
	    --background demo/scene/optical.tif -o demo/result/evaluation
	@echo
	@echo "Map with outlines:    demo/result/quicklook.png"
	@echo "Right and wrong:      demo/result/evaluation/errors.png"
	@echo "Outlines for a GIS:   demo/result/outlines.gpkg"
	@echo "The mountains are made up: the scores show that the program works, not how well a model maps real glaciers."
# Shown where there is a desktop; never a failure.
	@for picture in demo/result/quicklook.png demo/result/evaluation/errors.png; do \
	  if [ "$$(uname)" = Darwin ]; then open $$picture || true; \
	  elif [ -n "$$DISPLAY$$WAYLAND_DISPLAY" ] && command -v xdg-open >/dev/null; then xdg-open $$picture >/dev/null 2>&1 & \
	  fi; \
	done
