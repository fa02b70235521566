#!/usr/bin/env bash
# Download the packages of constraints.txt, each checked against its hash in hashes.txt, and let later steps install from nowhere else.
set -euo pipefail
cd "$(dirname "$0")/.."
packages=${RUNNER_TEMP:?expected the folder that GitHub gives to a job}/packages
pip download --quiet --no-deps --require-hashes -r .github/hashes.txt -d "$packages"
pip download --quiet --no-deps "$(grep '^torch==' constraints.txt)" --index-url https://download.pytorch.org/whl/cpu -d "$packages" # the build without CUDA, which only PyTorch's own index has
printf 'PIP_NO_INDEX=1\nPIP_FIND_LINKS=%s\n' "$packages" >>"${GITHUB_ENV:?expected the file in which GitHub keeps variables}"
