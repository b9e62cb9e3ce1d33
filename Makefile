# Each target does its own set-up on a fresh Debian machine with Rust.

SHELL := /bin/bash
GLAVITU := target/release/glavitu
# Mesa's device-selection layer looks for a display and complains where there is none.
export NODEVICE_SELECT := 1
# Root needs no sudo; elsewhere it asks.
SUDO := $(shell [ "$$(id -u)" = 0 ] || echo sudo)

.PHONY: help build check test full bench demo adapter

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

bench: ## Time every operator on the CPU (criterion)
	cargo bench --locked

# A Vulkan adapter on Linux: what is there, else Mesa's lavapipe.
adapter:
	@if [ "$$(uname)" = Linux ] && { ! /sbin/ldconfig -p | grep -q 'libvulkan\.so\.1' \
	    || ! ls /usr/share/vulkan/icd.d/*.json /etc/vulkan/icd.d/*.json >/dev/null 2>&1; } \
	    && [ -z "$$VK_DRIVER_FILES$$VK_ICD_FILENAMES" ]; then \
	  echo "No Vulkan adapter: installing Debian's mesa-vulkan-drivers"; \
	  $(SUDO) apt-get update -qq && $(SUDO) apt-get install -y -qq libvulkan1 mesa-vulkan-drivers; \
	fi

demo: build ## Map a small generated scene; see demo/result/quicklook.png
	@mkdir -p demo
	$(GLAVITU) import keras tests/data/tiny_global.h5 --features optical,dem -o demo/model.safetensors
	$(GLAVITU) dataset synthetic --scene --size 384 --seed 1 -o demo/scene
	$(GLAVITU) predict --model demo/model.safetensors --optical demo/scene/optical.tif \
	    --elevation demo/scene/elevation.tif --smoothing 3 -o demo/result
	@echo
	@echo "This shows the path from rasters to outlines, not the network's skill: the demo's weights are random"
	@echo "(no trained weights ship yet), so the outlines and the confidence mean nothing."
	@echo "Picture: demo/result/quicklook.png    Outlines: demo/result/outlines.gpkg    Run: demo/result/run.json"
