"""The -C archives of corrupted images: downloaded, verified, generated and read."""

from .checking import source_of, verify
from .fetching import fetch
from .generating import generate
from .reading import open_archive
from .table import ARCHIVES, Archive, TarFile, find_archive

__all__ = ["ARCHIVES", "Archive", "TarFile", "fetch", "find_archive", "generate", "open_archive", "source_of", "verify"]
