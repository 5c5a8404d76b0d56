"""Tests the public API and the imports of `offload`: its names, and no heavy dependencies."""

import subprocess
import sys

import offload


def test_everything_that_is_promised_is_there():
    for name in offload.__all__:
        assert getattr(offload, name).__doc__, name


def test_schedulers_load_without_torch_and_web_server():
    """An edge node runs where torch is not installed; a simulator needs neither a server nor a database."""
    program = (
        "import sys, offload, offload.conformance, edgenode.schedulers as s; s.describe();"
        "print([m for m in ('torch', 'onnxruntime', 'flask', 'sqlalchemy', 'middleware', 'trainer')"
        " if m in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
