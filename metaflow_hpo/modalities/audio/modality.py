"""The modality `audio`: recordings with a class each."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from metaflow_hpo.errors import InvalidTaskError, listed
from metaflow_hpo.modalities.audio.decoding import SUFFIXES, decode
from metaflow_hpo.modalities.audio.features import describe_sounds
from metaflow_hpo.modalities.audio.meta_features import AUDIO_GROUP
from metaflow_hpo.modalities.audio.reading import bring_to_rate, read_files_of_recordings
from metaflow_hpo.modalities.audio.recordings import Recordings
from metaflow_hpo.modalities.audio.wave_arrays import holds_waves, read_waves
from metaflow_hpo.modalities.hints import Hints
from metaflow_hpo.modalities.items.item_data import ItemData
from metaflow_hpo.modalities.items.listed import ItemFile
from metaflow_hpo.modalities.items.modality import ItemModality
from metaflow_hpo.modalities.items.sheets import draw_spectrogram, make_sheet
from metaflow_hpo.modalities.items.sources import holds_items
from metaflow_hpo.modalities.meta_features import MetaFeatureGroup
from metaflow_hpo.task import AUDIO

_OPTIONS = ("seconds", "key", "rate", "path", "group", "split", "root")


class AudioModality(ItemModality):
    """Recordings; see `ItemModality`."""

    described_rows: ClassVar[int] = 400

    @property
    def name(self) -> str:
        """One word."""
        return AUDIO

    @property
    def own_groups(self) -> tuple[MetaFeatureGroup, ...]:
        """How recordings sound."""
        return (AUDIO_GROUP,)

    def recognises(self, source: Path) -> bool:
        """Tell whether files of recordings, or arrays with waves, are there."""
        return _is_one(source) or holds_waves(source) or holds_items(source, SUFFIXES)

    def read(self, source: Path, hints: Hints) -> ItemData:
        """Read a folder, zip or table of files, or an `.npz` with waves.

        Args:
            source: The file or folder.
            hints: What was said of it; `options` may hold `seconds`, what is kept of each recording, `key` and `rate`
                for arrays, and what `list_items` knows.

        Raises:
            InvalidTaskError: If it is none; the message says what to do.
        """
        unknown = sorted(set(hints.options) - set(_OPTIONS))
        if unknown:
            raise InvalidTaskError(
                f"Expected only the options {', '.join(_OPTIONS)} of recordings; found {listed(unknown)}. Correct them."
            )
        if _is_one(source):
            raise InvalidTaskError(
                f"Expected many recordings with a class each; {source.name} is one. Give the folder that has a folder "
                "for each class, or a table of paths and labels."
            )
        if source.suffix.lower() == ".npz" and not source.is_dir():
            return read_waves(source, hints)
        return read_files_of_recordings(source, hints)

    def to_arrays(self, items: Recordings) -> Mapping[str, NDArray[Any]]:
        """Return the samples, where each recording begins, and how loud it is."""
        rate = np.array([items.rate], np.int64)
        return {"samples": items.samples, "offsets": items.offsets, "scale": items.scale, "rate": rate}

    def from_arrays(self, arrays: Mapping[str, NDArray[Any]]) -> Recordings:
        """Return the recordings that `to_arrays` was given."""
        return Recordings(arrays["samples"], arrays["offsets"], arrays["scale"], int(arrays["rate"][0]))

    def prepare_arrays(self, items: Recordings, fitted_on: Recordings) -> NDArray[np.float32]:
        """Return rate, samples and wave of each, see `Recordings.to_lines`."""
        return items.to_lines()

    @property
    def endings(self) -> tuple[str, ...]:
        """Of recordings."""
        return SUFFIXES

    def form(self, data: ItemData) -> dict[str, Any]:
        """Return samples a second, and how long the longest recording is."""
        recordings: Recordings = data.train_items
        return {"rate": recordings.rate, "seconds": float(recordings.durations_s.max())}

    def decode(self, files: Sequence[ItemFile], form: Mapping[str, Any]) -> Recordings:
        """Return recordings at that rate, not longer than that."""
        decoded = [decode(file.read(), file.name, form["seconds"]) for file in files]
        return bring_to_rate(decoded, form["rate"])

    def show(self, data: ItemData) -> bytes:
        """Return spectrograms by class."""
        recordings: Recordings = data.items[np.arange(len(data.items))]
        return make_sheet(data, lambda position: draw_spectrogram(recordings.wave(position)))

    def features(self, items: Recordings) -> NDArray[np.float32]:
        """Return mean, deviation and change of the bands of each recording, and its duration."""
        return describe_sounds(items)


def _is_one(source: Path) -> bool:
    return source.suffix.lower() in SUFFIXES and source.is_file()


AUDIO_MODALITY = AudioModality()
