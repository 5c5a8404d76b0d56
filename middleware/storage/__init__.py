"""Stores models, buffers and reports as files: in a folder (`file:PATH`), the database (`database:`) or HDFS.

`models.py` reads and writes models by version.
"""

from middleware.database.engine import Database
from middleware.home import expanded
from middleware.storage.blobs import BlobStorage
from middleware.storage.folder import FolderStorage
from middleware.storage.models import fetch_model, model_folder, named_model, publish_model
from middleware.storage.port import Storage
from offload.settings import SettingsError, redacted

__all__ = ["Storage", "fetch_model", "model_folder", "named_model", "open_storage", "publish_model"]


def open_storage(url: str, db: Database | None) -> Storage:
    """The storage adapter for a URL. Raises SettingsError if there is none."""
    scheme, _, rest = url.partition(":")
    if scheme == "file" and rest:
        return FolderStorage(expanded(rest.removeprefix("//"), "services.storage"))
    if url == "database:":
        if db is None:
            raise SettingsError("services.storage: 'database:' needs a database")
        return BlobStorage(db)
    if scheme in ("hdfs+http", "hdfs+https"):
        from middleware.storage.hdfs import HdfsStorage

        return HdfsStorage(url)
    raise SettingsError(
        f"services.storage: there is no adapter for '{redacted(url)}'; write file:PATH, database:, or "
        "hdfs+http://host:9870/path"
    )
