#!/bin/sh
# For a machine that has git and this checkout, but not even make: `./make demo` is `make demo`, with make
# installed first. It is one more package for scripts/setup; everything else is in the Makefile.
cd "$(dirname "$0")" || exit
command -v make >/dev/null || scripts/setup make || exit
exec make "$@"
