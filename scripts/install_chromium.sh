#!/usr/bin/env bash
# Installs Chromium from Debian's packages, for the tests of the report in a browser.
set -euo pipefail
if command -v chromium > /dev/null; then exit 0; fi
SUDO=()
if [ "$(id -u)" -ne 0 ]; then SUDO=(sudo); fi
"${SUDO[@]}" apt-get update
"${SUDO[@]}" env DEBIAN_FRONTEND=noninteractive \
  apt-get install --yes --no-install-recommends chromium fonts-dejavu-core
