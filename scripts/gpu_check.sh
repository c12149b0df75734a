#!/usr/bin/env bash
# What a GPU does with this library: one table, within eight minutes.
#
#   scripts/gpu_check.sh --mnist=FOLDER      with MNIST to its final accuracy
#   scripts/gpu_check.sh                     without
#   scripts/gpu_check.sh --tiny              everything as small as it gets, on the CPU: whether the script runs
#
# JAX for the GPU has to be installed, see docs/pods.md. PYTHON names the interpreter (default: .venv's, else python3).
# The exit code is 1 if a part failed; the rows of the others are printed all the same.
set -eu

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
if [[ -z ${PYTHON:-} ]]; then
  PYTHON=python3
  [[ -x $root/.venv/bin/python ]] && PYTHON=$root/.venv/bin/python
fi
for argument in "$@"; do
  [[ $argument == --tiny ]] && export JAX_PLATFORMS=cpu
done
# Processes that the check starts share the device with it.
export XLA_PYTHON_CLIENT_PREALLOCATE=${XLA_PYTHON_CLIENT_PREALLOCATE:-false}
cd "$root"
exec timeout --signal=INT --kill-after=10 "${LIMIT:-480}" "$PYTHON" -m benchmarks.accelerator "$@"
