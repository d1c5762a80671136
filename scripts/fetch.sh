#!/usr/bin/env bash
# Fetches a package of Debian's and unpacks it into a folder, without root: scripts/fetch.sh PACKAGE FOLDER
set -euo pipefail
package=$1 folder=$2
if ! command -v apt-get >/dev/null || ! command -v dpkg-deb >/dev/null; then
  echo "$package is missing, and without apt-get it cannot be fetched: install it with your package manager" >&2
  exit 1
fi
downloads=$(mktemp -d)
trap 'rm -rf "$downloads"' EXIT
if ! (cd "$downloads" && { apt-get download -qq "$package" || { apt-get update -qq && apt-get download -qq "$package"; }; }); then
  echo "$package cannot be fetched: run \`apt-get update\` as root and this again, or install it: sudo apt-get install $package" >&2
  exit 1
fi
mkdir -p "$folder"
dpkg-deb -x "$downloads"/*.deb "$folder"
