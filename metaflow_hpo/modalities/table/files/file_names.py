"""Names of the files that hold tables: `<name><ending>`, where an ending may have two parts, as in `my.csv.gz`.

The one thing to know: the sidecar of `my.csv.gz` is `my.yaml`, and its task is `my`, as for `my.csv`.
"""

from pathlib import Path

TEXT = (".csv", ".tsv", ".txt")
RECORDS = (".jsonl", ".ndjson", ".json")
PARQUET = (".parquet", ".pq")
WORKBOOK = ".xlsx"
COMPRESSED = (".gz", ".bz2", ".xz", ".zip")
_PLAIN = (*TEXT, *RECORDS)
ENDINGS = (*_PLAIN, *PARQUET, WORKBOOK, ".zip", *(one + packed for one in _PLAIN for packed in COMPRESSED))
"""All that is read, lower case."""
INBOX_ENDINGS = tuple(ending for ending in ENDINGS if not ending.startswith(".txt"))
"""Those of the inbox: what people leave there as .txt is rather a note than a table."""
SHOWN_ENDINGS = ".csv, .tsv, .jsonl (each also .gz, .bz2, .xz or .zip), .parquet, .pq, .xlsx"
"""The same for messages; the rarer ones are left out."""
SIDECAR_SUFFIX = ".yaml"


def ending_of(path: Path) -> str:
    """Return the ending of a name in lower case: one of `ENDINGS` where it has one, else what follows its last dot."""
    name = path.name.lower()
    return max((ending for ending in ENDINGS if name.endswith(ending)), key=len, default=path.suffix.lower())


def stem_of(path: Path) -> str:
    """Return a name without its ending: `my` for `my.csv.gz`."""
    ending = ending_of(path)
    return path.name[: -len(ending)] if ending and len(ending) < len(path.name) else path.stem


def sidecar_of(path: Path) -> Path:
    """Return where the sidecar of a table lies: `<name>.yaml` beside it."""
    return path.with_name(f"{stem_of(path)}{SIDECAR_SUFFIX}")
