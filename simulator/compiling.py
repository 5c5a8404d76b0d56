"""Compiles the twin with numba and caches the compiled code on the disk where possible.

The cache is in the first of these places that can be written: `NUMBA_CACHE_DIR`, beside the sources, the user's cache
folder. There may be none: another user's installation, a container with a read-only root. The disk may also fail later.
Each process then compiles anew and logs one warning. numba itself would raise.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from numba import njit
from numba.core.caching import FunctionCache

import offload

_logger = logging.getLogger(__name__)


def compiled(function: Callable[..., Any]) -> Any:
    """`numba.njit` with a cache on the disk where possible. Does not raise when no folder can be written."""
    dispatcher = njit(function)
    try:
        dispatcher._cache = _DiskCache(function)
    except RuntimeError:  # numba raises this when no folder can be written
        _warn_once("no folder for it can be written")
    except OSError as error:
        _warn_once(str(error))
    return dispatcher


class _DiskCache(FunctionCache):
    """numba's cache of one function. It logs errors instead of raising them, and replaces damaged files."""

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """The compiled code for these types; None when it must be compiled."""
        try:
            return super().load_overload(sig, target_context)
        except OSError as error:
            self._give_up(error)
        except Exception as damage:  # unpickling half a file, for example after a power loss, can raise anything
            _logger.debug("%s is damaged: %r", self.cache_path, damage)
            try:
                self.flush()
            except OSError as error:
                self._give_up(error)
        return None

    def save_overload(self, sig: Any, data: Any) -> None:
        """Write compiled code to the disk."""
        try:
            super().save_overload(sig, data)
        except OSError as error:
            self._give_up(error)

    def _index_key(self, sig: Any, codegen: Any) -> tuple[Any, ...]:
        # Compiled code contains the functions that it calls in other modules. numba does not check those for changes.
        return (*super()._index_key(sig, codegen), _sources())

    def _give_up(self, error: OSError) -> None:
        self.disable()
        _warn_once(str(error))


@cache
def _sources() -> str:
    """A digest of all sources that compiled code can contain."""
    digest = hashlib.sha256()
    for package in (Path(__file__).parent, Path(offload.__file__).parent):
        for path in sorted(package.glob("*.py")):
            digest.update(path.read_bytes())
    return digest.hexdigest()


_warned: set[str] = set()


def _warn_once(reason: str) -> None:
    if not _warned:
        _warned.add(reason)
        _logger.warning(
            "the compiled twin cannot be cached (%s): each process compiles it anew, which takes some seconds; set "
            "NUMBA_CACHE_DIR to a folder that can be written",
            reason,
        )
