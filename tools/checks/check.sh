#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# What a machine can check about the tree. No argument: everything (needs a built build/release);
# else only the named ones: format layers headers tests docs symbols files python.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

# Pinned: other versions format differently.
check_format() { git ls-files -z '*.h' '*.cc' | xargs -0 -n 1 clang-format-14 --dry-run -Werror --ferror-limit=1; }
check_layers() { python3 tools/checks/layers.py; }
check_headers() { python3 tools/checks/headers.py; }
check_tests() { python3 tools/checks/tests.py build/release; }
check_docs() { python3 tools/checks/docs.py; }
check_symbols() { python3 tools/checks/symbols.py build/release; }
check_files() { python3 tools/checks/files.py; }
check_python() { .venv/bin/ruff check --quiet --no-cache python; }  # its rules: python/pyproject.toml

[ $# -gt 0 ] || set -- format layers headers tests docs symbols files python
failed=()
for name in "$@"; do
  declare -F "check_$name" >/dev/null || { echo "no check is called '$name'" >&2; exit 2; }
  if "check_$name"; then echo "check $name: ok"; else echo "check $name: FAILED"; failed+=("$name"); fi
done
[ ${#failed[@]} = 0 ] || { echo "failed checks: ${failed[*]}" >&2; exit 1; }
echo "all checks passed: $*"
