"""Models, buffers and reports as files: `file:PATH` (a folder) or `database:` (blobs). `models.py`: models by version."""

from pathlib import Path

from middleware.database.engine import Database
from middleware.storage.blobs import BlobStorage
from middleware.storage.folder import FolderStorage
from middleware.storage.models import fetch_model, model_folder, publish_model
from middleware.storage.port import Storage

__all__ = ["Storage", "fetch_model", "model_folder", "open_storage", "publish_model"]


def open_storage(url: str, db: Database | None) -> Storage:
    """The storage of a URL. Raises ValueError for one that this installation has no adapter for."""
    scheme, _, rest = url.partition(":")
    if scheme == "file" and rest:
        return FolderStorage(Path(rest.removeprefix("//")))
    if url == "database:":
        if db is None:
            raise ValueError("services.storage: 'database:' needs a database")
        return BlobStorage(db)
    raise ValueError(f"services.storage: there is no adapter for '{url}'; write file:PATH or database:")
