"""The end of reading texts, whatever they were read from."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from metaflow_hpo.modalities.hints import Hints
from metaflow_hpo.modalities.items.assembling import assemble, digest_of
from metaflow_hpo.modalities.items.item_data import ItemData
from metaflow_hpo.modalities.text.cleaning import clean_text, number_alike, say_cleaned
from metaflow_hpo.task import TEXT


def assemble_texts(
    texts: list[str],
    labels: list[str | None],
    *,
    hints: Hints,
    source: Path,
    groups: list[Any] | None = None,
    notes: tuple[str, ...] = (),
    read_from: Mapping[str, Any] | None = None,
) -> ItemData:
    """Make a task of texts and their classes.

    Args:
        texts: `n`, as they were found.
        labels: `n` names of classes, None where there is none.
        hints: What was said of the source.
        source: The file or folder.
        groups: `n` names of what belongs together.
        notes: What reading has changed.
        read_from: As `ItemData.columns`.
    """
    cleaned = [clean_text(text) for text in texts]
    return assemble(
        np.array(cleaned, dtype=object),
        labels,
        [digest_of(text.encode()) for text in cleaned],
        hints=hints,
        source=source,
        modality=TEXT,
        groups=groups,
        near=number_alike(cleaned),
        notes=(*notes, *say_cleaned(texts, cleaned)),
        read_from=read_from,
    )
