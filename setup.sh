#!/usr/bin/env bash
# Makes a virtual environment and installs into it exactly what a lock names: setup.sh VENV LOCK PYTHON...
# The Makefile runs this when it is missing or older than the lock. The stamp VENV/.installed is written last: an
# interrupted installation is done again, from scratch. Exit status 3: none of these Pythons is there.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
venv=$1 lock=$2
shift 2
pythons=("$@") # versions that will do, such as 3.11, best first

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

packages=$(grep -c '^[a-zA-Z]' "$lock")
rm -rf "$venv"
candidates=()
for version in "${pythons[@]}"; do # pyenv keeps those that are not chosen off the PATH
    candidates+=("python$version" "${PYENV_ROOT:-$HOME/.pyenv}/versions/$version".*/bin/python)
done
with_uv() {
    command -v uv >/dev/null || return
    for python in "${candidates[@]}" "${pythons[@]}"; do # the last ones uv fetches where there is none
        uv venv --quiet --python "$python" "$venv" 2>/dev/null && return
    done
    return 1
}
install_with() {
    "$1" pip install --python "$venv"/bin/python --require-hashes -r "$lock" 2>&1 | { grep -v '^ [+-] ' || true; }
}
if with_uv; then
    echo "Setting up $venv with uv and $("$venv"/bin/python --version): about $packages packages"
    install_with uv
else
    pip=()
    for python in "${candidates[@]}" python3 python; do
        # Run it to know: a pyenv shim can be there for a Python that is not chosen.
        version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null) || continue
        [[ " ${pythons[*]} " = *" $version "* ]] || continue
        "$python" -m venv --clear --without-pip "$venv" >/dev/null 2>&1 || continue
        if "$venv"/bin/python -m ensurepip >/dev/null 2>&1; then
            pip=("$venv"/bin/python -m pip)
            break
        fi
        # Debian keeps ensurepip in a package of its own; a pip from outside (22.3 or later) can fill the venv as well.
        if "$python" -m pip --python "$venv"/bin/python --version >/dev/null 2>&1; then
            pip=("$python" -m pip --python "$venv"/bin/python)
            break
        fi
    done
    if [ ${#pip[@]} -eq 0 ]; then
        rm -rf "$venv"
        versions=${pythons[*]}
        echo "make: no Python ${versions// / or } with pip found: install one (Debian 12: apt-get install python3-venv)" \
            "or uv, which brings its own Python (pipx install uv), then run make again" >&2
        exit 3
    fi
    echo "Setting up $venv with $("$venv"/bin/python --version): about $packages packages"
    # The locked uv comes first and fetches the others, in a small part of the time that pip takes. pip does it where uv
    # finds no packages, as by an index that only pip was told of.
    sed -n '/^uv==/,/^    #/p' requirements.lock >"$venv"/uv.txt
    pip+=(install --disable-pip-version-check --no-input --require-hashes -r)
    # Left out of the errors: one warning a package where a local index besides the main one does not have it.
    exec 3>&2 2> >(grep -v '^WARNING: Location .* is ignored' >&2)
    if ! "${pip[@]}" "$venv"/uv.txt --quiet || ! install_with "$venv"/bin/uv; then
        echo "pip goes on without uv: a few minutes"
        "${pip[@]}" "$lock" | progress
    fi
    exec 2>&3 3>&-
fi
# Notebooks find the package from any folder; the path is relative, so that a copy of the checkout finds its own.
"$venv"/bin/python -c 'import os, sysconfig
packages = sysconfig.get_path("purelib")
print(os.path.relpath(os.getcwd(), packages), file=open(os.path.join(packages, "wearsynth.pth"), "w"))'
touch "$venv"/.installed
