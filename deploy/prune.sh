#!/bin/sh
# prune.sh VENV: removes files that no pod needs (installers, tests and tools of packages), and compiles the others.
set -eu
site=$(echo "$1"/lib/python3*/site-packages)
"$1/bin/python" -m pip uninstall --yes --quiet pip setuptools wheel 2>/dev/null || true
rm -rf "$site"/onnxruntime/tools "$site"/onnxruntime/transformers \
  "$site"/onnxruntime/quantization "$site"/onnxruntime/datasets \
  "$site"/torch/include "$site"/torch/test "$site"/torch/share "$site"/numpy/_core/include "$site"/numpy/f2py
find "$site" -type d \( -name tests -o -name test \) -not -path "*/torch/*" -prune -exec rm -rf {} +
find "$site" -name '*.a' -delete
find "$1" -name __pycache__ -type d -prune -exec rm -rf {} +
"$1/bin/python" -m compileall -q -j 0 "$site" || true
