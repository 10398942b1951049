#!/bin/sh
# Make this checkout ready: system packages through apt, a virtual environment, the package itself.
# Idempotent: what is there already is left alone, and a second run takes a second.
#
#   scripts/setup.sh            everything
#   scripts/setup.sh --no-apt   the Python side only
#   scripts/setup.sh --browser  what the browser tests need besides: Chromium, where apt has it
set -eu
cd "$(dirname "$0")/.."
VENV=${VENV:-.venv}

say() { printf '\033[1m==>\033[0m %s\n' "$*"; }
stop() { printf 'setup: %s\n  Hint: %s\n' "$1" "$2" >&2; exit 1; }

wanted=$(sed -e 's/#.*//' -e 's/[[:space:]].*//' -e '/^$/d' scripts/packages.txt)

# Those of some packages that apt knows.
known_of() {
    # shellcheck disable=SC2046,SC2086,SC2116 # lists, here and below
    there=" $(echo $(apt-cache madison $1 2>/dev/null | sed 's/|.*//')) "
    for package in $1; do
        case "$there" in *" $package "*) printf '%s ' "$package" ;; esac
    done
}

install_packages() {
    missing=
    for package in $wanted; do
        status=$(dpkg-query -W -f '${Status}' "$package" 2>/dev/null || true)
        [ "$status" = "install ok installed" ] || missing="$missing $package"
    done
    known=$(known_of "$missing")
    # What apt's lists, where it has any, do not know was left out before.
    [ -n "$known" ] || { [ -n "$missing" ] && [ -z "$(known_of apt)" ]; } || return 0
    as_root=
    if [ "$(id -u)" -ne 0 ]; then
        as_root="sudo"
        command -v sudo >/dev/null 2>&1 || stop "These packages are missing and there is neither root nor sudo: $(echo ${known:-$missing})." \
            "Ask an administrator to run: apt-get install --no-install-recommends $(echo ${known:-$missing}); or run 'scripts/setup.sh --no-apt' for the Python side only."
    fi
    $as_root apt-get update -qq || stop "apt-get update failed." "Check the network and the lines of /etc/apt/sources.list, then run this again."
    # Releases differ in what they have, and one program less keeps nobody from the others.
    known=$(known_of "$missing")
    for package in $missing; do
        case " $known" in *" $package "*) continue ;; esac
        [ "$package" != erlang-base ] || stop "apt knows no package erlang-base, without which nothing can be built." \
            "Add the distribution's main archive (on Ubuntu universe too) to the lines of /etc/apt/sources.list, then run this again."
        say "Not in this distribution, and left out: $(sed -n "s/^\($package\)  *\(.*\)/\1 (\2)/p" scripts/packages.txt)."
    done
    [ -n "$known" ] || return 0
    say "Installing system packages: $known"
    # shellcheck disable=SC2086 # the list is meant to be split
    $as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $known >"$log" 2>&1 || {
        tail -n 15 "$log" >&2
        stop "apt-get install failed." "The lines above say why; the whole log is $log."
    }
}

install_python() {
    python=
    for candidate in ${PYTHON:-python3 python3.13 python3.12 python3.11}; do
        if "$candidate" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            python=$candidate
            break
        fi
    done
    [ -n "$python" ] || stop "There is no Python 3.11 or later with venv on this host." "Install one (apt-get install python3-venv), or name it: make PYTHON=/path/to/python3."
    [ -x "$VENV/bin/python" ] || { say "Creating the virtual environment $VENV"; "$python" -m venv "$VENV"; }
    stamp="$VENV/.unibeam-$(cat pyproject.toml unibeam_nb/__init__.py | sha256sum | cut -c1-16)"
    [ -e "$stamp" ] && return 0
    say "Installing the Python packages (a minute or two)"
    # Python brings the pip of its own day, which takes three times as long as today's; where none is to be had, it has to do.
    "$VENV/bin/python" -m pip install --quiet --disable-pip-version-check --upgrade pip >"$log" 2>&1 || true
    "$VENV/bin/python" -m pip install --quiet --disable-pip-version-check -e '.[test]' >"$log" 2>&1 || {
        tail -n 15 "$log" >&2
        stop "pip could not install the Python packages." "Check the network or your pip settings; the whole log is $log."
    }
    rm -f "$VENV"/.unibeam-*
    : >"$stamp"
}

log=$(mktemp "${TMPDIR:-/tmp}/unibeam-setup.XXXXXX")
# The log stays only where somebody may want to read it.
trap '[ -s "$log" ] && [ "$done" != yes ] || rm -f "$log"' EXIT
done=no
if [ "${1:-}" = "--browser" ]; then
    command -v chromium >/dev/null 2>&1 || command -v chromium-browser >/dev/null 2>&1 || {
        # Ubuntu has it as a snap only: there the tests are skipped until somebody installs it.
        if [ -z "$(apt-cache madison chromium 2>/dev/null)" ]; then
            say "No package chromium here: browser tests will be skipped."
        else
            wanted=chromium
            # All other tests run without a browser, so nobody who cannot install one is kept from them.
            (install_packages) || { say "Chromium could not be installed: browser tests will be skipped."; exit 0; }
        fi
    }
    done=yes
    exit 0
fi
if [ "${1:-}" != "--no-apt" ]; then
    if command -v apt-get >/dev/null 2>&1; then
        install_packages
    else
        stop "This host has no apt, and unibeam installs its system packages with apt." \
            "Install by hand what these Debian packages hold: $(echo $wanted). Then run 'scripts/setup.sh --no-apt'."
    fi
fi
install_python
done=yes
say "Ready."
