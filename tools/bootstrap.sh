#!/bin/sh
# Check that there is a usable Python, then let tools/environment.py lay the environment.
# Usage: PYTHON=python3 VENV=.venv sh tools/bootstrap.sh controller|development
set -eu

python=${PYTHON:-python3}

fail() {
    echo "$1" >&2
    exit 1
}

command -v "$python" >/dev/null 2>&1 ||
    fail "$python: not found; install Python 3.11, 3.12 or 3.13, or name yours: make PYTHON=python3.12"

# Spelled so that every Python since 2.6 understands it.
version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])') ||
    fail "$python: does not run; name a working one: make PYTHON=python3.12"
case $version in
3.11 | 3.12 | 3.13) ;;
*) fail "$python: is Python $version, but 3.11, 3.12 or 3.13 is needed; install one and name it: make PYTHON=python3.12" ;;
esac

# Debian ships ensurepip apart from the interpreter.
if ! "$python" -c 'import ensurepip, venv' >/dev/null 2>&1; then
    package="python$version-venv"
    if ! command -v apt-get >/dev/null 2>&1; then
        fail "$python: has no ensurepip, which virtual environments need; install your system's package for it"
    elif [ "$(id -u)" -eq 0 ]; then
        sudo=
    elif sudo -n true 2>/dev/null; then
        sudo="sudo -n"
    else
        fail "$python: has no ensurepip, which virtual environments need; run: sudo apt-get install $package"
    fi
    echo "installing $package" >&2
    export DEBIAN_FRONTEND=noninteractive
    $sudo apt-get install -y -qq "$package" >/dev/null 2>&1 ||
        { $sudo apt-get update -qq && $sudo apt-get install -y -qq "$package" >/dev/null; } ||
        fail "$package: cannot be installed; install it by hand, or name another Python: make PYTHON=python3.12"
fi

exec "$python" tools/environment.py --directory "${VENV:-.venv}" "$@"
