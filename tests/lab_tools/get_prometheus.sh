#!/bin/sh
# Print the path of a Prometheus 3 server, taken from Debian sid (run as it is, nothing is installed) the first time.
#
#     PROMETHEUS=$(tests/lab_tools/get_prometheus.sh)
#
# It is kept in $MENDBOOK_LAB_CACHE (default: ~/.cache/mendbook-lab). A path in $PROMETHEUS is taken as it is.
# Needs apt-get, whose own sources say where Debian is, and dpkg-deb. Older Debian's 2.42 is no oracle: ranges are left-open since 3.0.
set -eu

if [ -n "${PROMETHEUS:-}" ]; then
    echo "$PROMETHEUS"
    exit 0
fi
cache=${MENDBOOK_LAB_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/mendbook-lab}
server=$cache/prometheus/usr/bin/prometheus
if [ ! -x "$server" ]; then
    work=$(mktemp -d)
    trap 'rm -rf "$work"' EXIT
    mkdir -p "$work/lists/partial" "$work/cache/archives/partial" "$cache"
    keyring=/usr/share/keyrings/debian-archive-keyring.gpg
    mirror=$(cat /etc/apt/sources.list /etc/apt/sources.list.d/* 2>/dev/null | grep -v '^[[:space:]]*#' |
        grep -oE 'https?://[^ ]+/debian/?( |$)' | head -n 1 | tr -d ' ')
    [ -n "$mirror" ] || { echo "apt's sources name no Debian mirror" >&2; exit 1; }
    echo "deb [signed-by=$keyring] $mirror sid main" >"$work/sid.list"
    cd "$work"
    sid() {
        apt-get -qq -o Dir::Etc::sourcelist="$work/sid.list" -o Dir::Etc::sourceparts=/dev/null \
            -o Dir::State::lists="$work/lists" -o Dir::Cache="$work/cache" -o APT::Sandbox::User=root "$@" >&2
    }
    sid update
    sid download prometheus
    rm -rf "$cache/prometheus.new"
    dpkg-deb -x "$work"/prometheus_*.deb "$cache/prometheus.new"
    rm -rf "$cache/prometheus"
    mv "$cache/prometheus.new" "$cache/prometheus"
fi
echo "$server"
