#!/usr/bin/env bash
# Makes .venv and installs into it exactly what requirements.lock names. The Makefile runs this when .venv is missing or
# older than the lock. The stamp .venv/.installed is written last: an interrupted installation is done again, from scratch.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

# Packages found there would count as installed, at versions that the lock does not know.
unset PYTHONPATH PYTHONHOME

# Cuts pip's hundreds of lines down to a sign of life; its errors come on stderr.
progress() {
    local line count=0
    while IFS= read -r line; do
        case $line in
            Collecting* | Processing*)
                count=$((count + 1))
                [ $((count % 25)) -ne 0 ] || echo "  $count packages looked up" ;;
            *Downloading*[0-9][0-9].[0-9]" MB"*) echo "$line" ;;
            Installing*) echo "  $count packages fetched, now unpacking" ;;
        esac
    done
}

rm -rf .venv
if command -v uv >/dev/null && uv venv --quiet --python '>=3.10,<3.12' .venv; then
    echo "Setting up .venv with uv and $(.venv/bin/python --version): about 160 packages"
    uv pip install --python .venv/bin/python --require-hashes -r requirements.lock 2>&1 | { grep -v '^ [+] ' || true; }
else
    pip=()
    for python in python3.11 python3.10 python3 python; do
        # Run it to know: a pyenv shim can be there for a Python that is not chosen.
        "$python" -c 'import sys; sys.exit(not (3, 10) <= sys.version_info < (3, 12))' >/dev/null 2>&1 || continue
        "$python" -m venv --clear --without-pip .venv >/dev/null 2>&1 || continue
        if .venv/bin/python -m ensurepip >/dev/null 2>&1; then
            pip=(.venv/bin/python -m pip)
            break
        fi
        # Debian keeps ensurepip in a package of its own; a pip from outside (22.3 or later) can fill the venv as well.
        if "$python" -m pip --python .venv/bin/python --version >/dev/null 2>&1; then
            pip=("$python" -m pip --python .venv/bin/python)
            break
        fi
    done
    if [ ${#pip[@]} -eq 0 ]; then
        rm -rf .venv
        echo "make: no Python 3.10 or 3.11 with pip found: install one (Debian 12, Ubuntu 22.04: apt-get install python3-venv)" \
            "or uv, which brings its own Python (pipx install uv), then run make again" >&2
        exit 1
    fi
    echo "Setting up .venv with pip and $(.venv/bin/python --version): about 160 packages, a few minutes"
    # Left out of the errors: one warning a package where a local index besides the main one does not have it.
    "${pip[@]}" install --disable-pip-version-check --no-input --require-hashes -r requirements.lock \
        2> >(grep -v '^WARNING: Location .* is ignored' >&2) | progress
fi
touch .venv/.installed
