#!/usr/bin/env bash
# Carries out the Dockerfile's steps in a clean root and runs what comes out, without a container
# engine: debootstrap, overlay file systems and namespaces. Finished steps are kept in
# build/container and are not repeated while what they depend on is the same, as in an engine.
#
#   deploy/test_dockerfile.sh           some minutes the first time; needs root and a Debian mirror
set -euo pipefail
cd "$(dirname "$0")/.."
[ "$(id -u)" -eq 0 ] || exec sudo "$0" "$@"
# A mount and a process namespace of its own: whatever happens, no mount and no process is left.
exec unshare --mount --pid --fork --kill-child --mount-proc \
  python3 deploy/test_dockerfile.py deploy/docker/Dockerfile build/container
