#!/usr/bin/env bash
# Compares glavitu with its peers on this machine; see README.md. Arguments go to the program: `run.sh --help`.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)

# Mesa's device-selection layer looks for a display and complains where there is none.
export NODEVICE_SELECT=1
# burn tunes afresh in every run and leaves no files behind.
export CUBECL_AUTOTUNE_CACHE=off CUBECL_THROUGHPUT_CACHE=off

arguments=("$@")
given() { [[ " ${arguments[*]-} " == *" $1 "* || " ${arguments[*]-} " == *" $1="* ]]; }

if [[ " ${arguments[*]-} " != *" --only burn "* && " ${arguments[*]-} " != *" --only=burn "* ]]; then
  # The project's shared fixtures, where there are any and nothing else is asked for.
  full=${GLAVITU_SHARED:-$here/../../../shared}/fixtures/full
  given --onnx || [ ! -e "$full/glavitu_global.onnx" ] || arguments+=(--onnx "$full/glavitu_global.onnx")
  given --model || [ ! -e "$full/random_global.h5" ] || arguments+=(--model "$full/random_global.h5")
  if ! given --python; then
    if [ ! -e "$here/venv/complete" ]; then
      python3 -m venv "$here/venv"
      "$here/venv/bin/pip" install --quiet --disable-pip-version-check -r "$here/requirements.txt"
      touch "$here/venv/complete"
    fi
    arguments+=(--python "$here/venv/bin/python")
  fi
fi

# shellcheck disable=SC2086 # several options
cargo build --release --locked --quiet --manifest-path "$here/Cargo.toml" --target-dir "$here/target" ${PEERS_CARGO-}
exec "$here/target/release/glavitu-peers" "${arguments[@]}"
