"""The first rows of a table, to tell what it holds without reading all of a large file."""

from contextlib import suppress
from itertools import islice
from pathlib import Path

import pandas as pd

from metaflow_hpo.errors import InvalidTaskError
from metaflow_hpo.modalities.table.files.delimited import Expected, read_delimited
from metaflow_hpo.modalities.table.files.file_names import COMPRESSED, ENDINGS, PARQUET, TEXT, ending_of
from metaflow_hpo.modalities.table.files.tables import read_table
from metaflow_hpo.modalities.table.files.unpacking import read_head
from metaflow_hpo.parquet_files import parquet_damage
from metaflow_hpo.text_columns import with_text

MAX_BYTES = 256 * 1024
"""Of a text; what has no more is read whole, as are JSON and workbooks below `MAX_WHOLE_BYTES`."""
MAX_WHOLE_BYTES = 16 * 1024**2
MAX_ROWS = 500


def peek_table(path: Path) -> pd.DataFrame | None:
    """Return the first rows of a table with its columns; None where it is no table, or none that can be looked into.

    Args:
        path: The file; whatever is wrong with it is for whoever reads it to say.
    """
    ending = ending_of(path)
    if ending not in ENDINGS or not path.is_file():
        return None
    with suppress(InvalidTaskError, OSError):
        if ending in PARQUET:
            return _peek_parquet(path)
        if ending.removesuffix(_packing(ending)) in (*TEXT, ""):
            return _peek_text(path)
        if path.stat().st_size <= MAX_WHOLE_BYTES:
            return read_table(path, settles_words=False, reads_commas=False)[:MAX_ROWS]
    return None


def _packing(ending: str) -> str:
    return next((packed for packed in COMPRESSED if ending.endswith(packed)), "")


def _peek_parquet(path: Path) -> pd.DataFrame | None:
    from pyarrow import parquet

    with suppress(*parquet_damage()), parquet.ParquetFile(path) as file:
        for batch in islice(file.iter_batches(MAX_ROWS), 1):
            return with_text(batch.to_pandas())
    return None


def _peek_text(path: Path) -> pd.DataFrame | None:
    head = read_head(path, MAX_BYTES + 1)
    if len(head) <= MAX_BYTES:
        return read_table(path, settles_words=False, reads_commas=False)[:MAX_ROWS]
    # A line may end inside a quoted field: then the next end of a line before it is tried.
    for _ in range(MAX_ROWS):
        head = head[: head.rfind(b"\n")]
        if not head:
            break
        if head.count(b'"') % 2 == 0:
            return read_delimited(path, head, Expected())[0][:MAX_ROWS]
    return None
