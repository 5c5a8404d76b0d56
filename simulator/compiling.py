"""Compiling the twin with numba, and keeping what was compiled on the disk where that is possible.

numba keeps it in `NUMBA_CACHE_DIR`, beside the sources, or in the user's cache folder: the first of these that can be written.
Where there is none (another user's installation, a container with a read-only root), or the disk fails later, each process
compiles anew, and the log has one sentence. numba itself would raise.
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
    """`numba.njit`, with the result kept on the disk where possible. Never raises for want of a place."""
    dispatcher = njit(function)
    try:
        dispatcher._cache = _Kept(function)
    except RuntimeError:  # numba's word for "no folder can be written"
        _say_once("no folder for it can be written")
    except OSError as error:
        _say_once(str(error))
    return dispatcher


class _Kept(FunctionCache):
    """numba's cache of one function, without its errors. A damaged file is replaced."""

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """What was compiled for these types; None where it has to be compiled."""
        try:
            return super().load_overload(sig, target_context)
        except OSError as error:
            self._give_up(error)
        except Exception as damage:  # half a file, after a power loss, raises whatever unpickling it comes upon
            _logger.debug("%s is damaged: %r", self.cache_path, damage)
            try:
                self.flush()
            except OSError as error:
                self._give_up(error)
        return None

    def save_overload(self, sig: Any, data: Any) -> None:
        """Keep what was compiled."""
        try:
            super().save_overload(sig, data)
        except OSError as error:
            self._give_up(error)

    def _index_key(self, sig: Any, codegen: Any) -> tuple[Any, ...]:
        # A function contains what it calls from other modules, whose changes numba does not look for.
        return (*super()._index_key(sig, codegen), _sources())

    def _give_up(self, error: OSError) -> None:
        self.disable()
        _say_once(str(error))


@cache
def _sources() -> str:
    """A digest of all sources that compiled code is made of."""
    digest = hashlib.sha256()
    for package in (Path(__file__).parent, Path(offload.__file__).parent):
        for path in sorted(package.glob("*.py")):
            digest.update(path.read_bytes())
    return digest.hexdigest()


_said: set[str] = set()


def _say_once(why: str) -> None:
    if not _said:
        _said.add(why)
        _logger.warning(
            "the compiled twin cannot be kept (%s): each process compiles it anew, which takes some seconds; set "
            "NUMBA_CACHE_DIR to a folder that can be written",
            why,
        )
