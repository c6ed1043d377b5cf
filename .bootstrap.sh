# Sourced by callfold and check, with $root set: creates .venv from requirements.lock and builds the console, unless
# they are up to date.
# shellcheck shell=sh

say() { printf 'callfold: %s\n' "$*" >&2; }

# Finds the first Python that runs (a shim may not), is new enough and can create an environment.
find_python() {
    for python in python3.11 python3.12 python3.13 python3.14 python3 python; do
        "$python" -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && return
    done
    return 1
}

# Prints what .venv was created from: three lines for the packages, one for the project. Prints nothing when the Python
# in .venv does not run.
made_of() {
    version=$("$root/.venv/bin/python" -c 'import sys; print(*sys.version_info)' 2>/dev/null) || return 0
    printf '%s\n' "$root" "$version"
    cksum <"$root/requirements.lock"
    cksum <"$root/pyproject.toml"
}

up_to_date() { [ -f "$root/.venv/stamp" ] && [ "$(cat "$root/.venv/stamp")" = "$(made_of)" ]; }

packages_up_to_date() {
    [ -f "$root/.venv/stamp" ] && [ "$(head -n 3 "$root/.venv/stamp")" = "$(made_of | head -n 3)" ]
}

has_uv() { command -v uv >/dev/null 2>&1; }

install_packages() {
    if has_uv; then
        uv venv --quiet --python "${python:->=3.11}" "$root/.venv" &&
            uv pip install --quiet --python "$root/.venv/bin/python" --compile-bytecode \
                --require-hashes --requirements "$root/requirements.lock"
    else
        "$python" -m venv "$root/.venv" &&
            "$root/.venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-input \
                --require-hashes --requirement "$root/requirements.lock"
    fi
}

install_project() {
    if has_uv; then
        uv pip install --quiet --python "$root/.venv/bin/python" --no-deps --no-build-isolation --editable "$root"
    else
        "$root/.venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-input \
            --no-deps --no-build-isolation --editable "$root"
    fi
}

# Runs a step; prints its output only if it fails.
quietly() {
    if ! said=$("$@" 2>&1); then
        printf '%s\n' "$said" >&2
        say 'the packages could not be installed into .venv; the lines above show why. Fix that, then run this again.'
        exit 1
    fi
}

make_environment() {
    # The PostgreSQL server may run as another user, which must be able to read the installed files.
    umask 022
    if ! packages_up_to_date; then
        if [ -z "$python" ] && ! has_uv; then
            say 'found no Python 3.11 or newer with venv. Install one (Debian, Ubuntu: python3 and python3-venv).'
            exit 1
        fi
        say 'creating .venv from requirements.lock, once (about a minute) ...'
        rm -rf "$root/.venv"
        quietly install_packages
    fi
    quietly install_project
    # Written last, so that the next run repeats an interrupted installation.
    made_of >"$root/.venv/stamp"
}

if ! up_to_date; then
    # If two shells start at once, the second waits here. The kernel releases the lock when this shell exits for any
    # reason.
    exec 9>>"$root/requirements.lock"
    if find_python; then "$python" -c 'import fcntl; fcntl.flock(9, fcntl.LOCK_EX)' || :; else python=; fi
    up_to_date || (make_environment) || exit 1
    exec 9>&-
fi

# A machine that cannot reach a registry of npm packages has everything but the console.
"$root/.venv/bin/python" -I "$root/services/api/console/build.py" --unless-current ||
    say 'everything but the console works. To try again: .venv/bin/python -m services.api.console.build'
