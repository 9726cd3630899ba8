#!/usr/bin/env bash
# Everything that needs an NVIDIA GPU, in one go: its tests first, then the figures, as JSON with the machine and commit.
#
#     bench/gpu.sh [FOLDER]      FOLDER: for the results (default: bench/results)
#
# Runs with the `python3` on the path: an environment of `install.py gpu` with what requirements/test.txt has. It ends at
# the first test that fails, because nothing that is wrong is timed. Engines are built for the figures of TensorRT, which
# takes minutes.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
folder=${1:-bench/results}
mkdir -p "$folder"
commit=$(git rev-parse --short HEAD 2>/dev/null || echo unknown)
stpn=(python3 -m stpn.plugin.cli)

# kernels, layouts, CUDA graphs to the bit, Triton, engines against torch; what is missing fails
STPN_REQUIRE_GPU=1 python3 -m pytest -q -m gpu tests

"${stpn[@]}" engine build --method stpn --size 512x512
"${stpn[@]}" engine build --size 1920x1080 3840x2160
"${stpn[@]}" engine build --property mask --size 1920x1080

for device in cuda tensorrt cpu; do
    "${stpn[@]}" bench speed --device "$device" --size 1080p 4K --rounds 20 --json "$folder/speed-$device-$commit.json"
done
