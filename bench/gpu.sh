#!/usr/bin/env bash
# Everything that needs an NVIDIA GPU, in one go: its tests first, then the figures, as JSON with the machine and commit.
#
#     bench/gpu.sh [FOLDER]      FOLDER: for the results (default: bench/results)
#
# Runs with the `python3` on the path, which needs torch for CUDA and what requirements/test.txt has; it ends at the first
# test that fails, because nothing that is wrong is timed.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
folder=${1:-bench/results}
mkdir -p "$folder"
export STPN_REQUIRE_GPU=1
python3 -m pytest -q -m gpu tests
commit=$(git rev-parse --short HEAD 2>/dev/null || echo unknown)
for device in cuda cpu; do
    python3 -m stpn.plugin.cli bench speed --device "$device" --size 1080p 4K --rounds 20 \
        --json "$folder/speed-$device-$commit.json"
done
