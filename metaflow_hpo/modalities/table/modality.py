"""Tables as a modality."""

from pathlib import Path
from typing import ClassVar

from metaflow_hpo.modalities.hints import Hints
from metaflow_hpo.modalities.meta_features import MetaFeatureGroup
from metaflow_hpo.modalities.modality import Fold, Split, Splits
from metaflow_hpo.modalities.table.files.file_names import INBOX_ENDINGS, ending_of
from metaflow_hpo.modalities.table.fingerprint import column_fingerprints
from metaflow_hpo.modalities.table.meta_features import TABLE_GROUP
from metaflow_hpo.modalities.table.reading import read_task_table
from metaflow_hpo.modalities.table.sample import sample_rows
from metaflow_hpo.modalities.table.splits import prepare_split, split_table
from metaflow_hpo.modalities.table.table_data import TableData
from metaflow_hpo.modalities.table.task_files import read_task, write_task
from metaflow_hpo.task import TABLE


class TableModality:
    """Rows of numbers and texts, one of whose columns is predicted; see `Modality`."""

    described_rows: ClassVar[int] = 2500

    @property
    def name(self) -> str:
        """One word."""
        return TABLE

    @property
    def meta_features(self) -> tuple[MetaFeatureGroup, ...]:
        """The groups that come with it."""
        return (TABLE_GROUP,)

    def recognises(self, source: Path) -> bool:
        """Tell by its name whether a file is a table."""
        return ending_of(source) in INBOX_ENDINGS and not source.is_dir()

    def read(self, source: Path, hints: Hints) -> TableData:
        """Read a person's table as a task."""
        return read_task_table(source, hints)

    def split(self, data: TableData, seed: int = 0) -> Splits:
        """Return the folds, and the split of the test rows."""
        return split_table(data, seed)

    def prepare(self, data: TableData, split: Split, number: int = 0) -> Fold:
        """Make arrays of a split, columns and target prepared on its training rows."""
        return prepare_split(data, split, number)

    def save(self, data: TableData, path: Path) -> None:
        """Write a task as one parquet file."""
        write_task(path, data)

    def load(self, path: Path) -> TableData:
        """Read what `save` wrote."""
        return read_task(path)

    def sample(self, data: TableData, max_rows: int) -> TableData:
        """Return a sample of the rows."""
        return sample_rows(data, max_rows)

    def fingerprint(self, data: TableData) -> frozenset[str]:
        """Return digests of the columns."""
        return column_fingerprints(data)


TABLE_MODALITY = TableModality()
