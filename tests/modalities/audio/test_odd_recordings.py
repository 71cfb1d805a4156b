"""Recordings as phones, editors and archives write them are read by value, or refused by name."""

import struct
import zipfile

import numpy as np
import pandas as pd
import pytest

from metaflow_hpo.errors import InvalidTaskError
from metaflow_hpo.modalities.audio.decoding import decode
from metaflow_hpo.modalities.registry import read_source
from tests.modalities.audio.sounds import sine, written
from tests.modalities.written_files import write_files

RATE = 8_000
WAVE = sine(440, 0.1, RATE)
STEPS = np.rint(WAVE * 32767).astype("<i2")
FINE, ROUGH = 1 / 16_000, 0.06


def chunk(name, content):
    return name + struct.pack("<I", len(content)) + content + b"\0" * (len(content) % 2)


def wav(*chunks, riff=b"RIFF", size=None):
    body = b"WAVE" + b"".join(chunks)
    return riff + struct.pack("<I", len(body) if size is None else size) + body


def fmt(kind=1, channels=1, rate=RATE, bits=16, more=b""):
    block = channels * bits // 8
    return chunk(b"fmt ", struct.pack("<HHIIHH", kind, channels, rate, rate * block, block, bits) + more)


def data(samples=STEPS, size=None):
    content = samples.tobytes()
    return b"data" + struct.pack("<I", len(content) if size is None else size) + content


def big_endian():
    head = struct.pack(">HHIIHH", 1, 1, RATE, 2 * RATE, 2, 16)
    samples = STEPS.astype(">i2").tobytes()
    body = b"WAVEfmt " + struct.pack(">I", 16) + head + b"data" + struct.pack(">I", len(samples)) + samples
    return b"RIFX" + struct.pack(">I", len(body)) + body


def extensible(bits, valid):
    """Return a WAV whose samples of `bits` have `valid` of them."""
    guid = struct.pack("<H", 1) + b"\0\0\0\0\x10\0\x80\0\0\xaa\0\x38\x9b\x71"
    samples = (np.rint(WAVE * (2 ** (valid - 1) - 1)).astype(np.int64) << (bits - valid)).astype(f"<i{bits // 8}")
    return wav(fmt(0xFFFE, bits=bits, more=struct.pack("<HHI", 22, valid, 4) + guid), data(samples))


def stereo(left=WAVE, right=WAVE, **options):
    return written(np.column_stack([left, right]), RATE, **options)


SURROUND = np.column_stack([WAVE * share for share in (1, 0.5, 0, 0, 0.5, 1)])
TAG = b"ID3\x03\0\0\0\0\0\x14" + b"TIT2" + struct.pack(">I", 10) + b"\0\0\0A title.."
HALF = np.where(np.arange(len(WAVE)) % 2, 0.25, -0.25).astype(np.float32)

CASES = {
    "a plain wav": (wav(fmt(), data()), WAVE, FINE),
    "chunks before the samples": (
        wav(chunk(b"LIST", b"INFOISFT\x06\0\0\0Lavf58"), fmt(), chunk(b"fact", b"\0" * 4), data()),
        WAVE,
        FINE,
    ),
    "chunks of odd length": (wav(chunk(b"junk", b"xyz"), fmt(), data()), WAVE, FINE),
    "chunks after the samples": (wav(fmt(), data(), chunk(b"LIST", b"INFO")), WAVE, FINE),
    "a head of 18 bytes": (wav(fmt(more=b"\0\0"), data()), WAVE, FINE),
    "a size of the file of 0": (wav(fmt(), data(), size=0), WAVE, FINE),
    "a size of the file that is too large": (wav(fmt(), data(), size=0xFFFFFFFF), WAVE, FINE),
    "a size of the samples that is too large": (wav(fmt(), data(size=0xFFFFFFFF)), WAVE, FINE),
    "a size of the samples as streams write it": (wav(fmt(), data(size=0x7FFFFFFF)), WAVE, FINE),
    "bytes a second that are wrong": (
        wav(chunk(b"fmt ", struct.pack("<HHIIHH", 1, 1, RATE, 7, 2, 16)), data()),
        WAVE,
        FINE,
    ),
    "half a sample at the end": (wav(fmt(), data())[:-1], WAVE[:-1], FINE),
    "the high byte first": (big_endian(), WAVE, FINE),
    "16 bits of 16, extensible": (extensible(16, 16), WAVE, FINE),
    "24 bits of 32, extensible": (extensible(32, 24), WAVE, FINE),
    "20 bits of 32, extensible": (extensible(32, 20), WAVE, FINE),
    "8 bits": (written(WAVE, RATE, subtype="PCM_U8"), WAVE, 1 / 100),
    "24 bits": (written(WAVE, RATE, subtype="PCM_24"), WAVE, FINE),
    "32 bits": (written(WAVE, RATE, subtype="PCM_32"), WAVE, FINE),
    "floats": (written(WAVE, RATE, subtype="FLOAT"), WAVE, FINE),
    "double floats": (written(WAVE, RATE, subtype="DOUBLE"), WAVE, FINE),
    "floats above full scale": (written(4 * WAVE, RATE, subtype="FLOAT"), 4 * WAVE, 4 * FINE),
    "very quiet floats": (written(WAVE / 5_000, RATE, subtype="FLOAT"), WAVE / 5_000, FINE / 5_000),
    "the law of a": (written(WAVE, RATE, subtype="ALAW"), WAVE, ROUGH),
    "the law of mu": (written(WAVE, RATE, subtype="ULAW"), WAVE, ROUGH),
    "adpcm of ima": (written(WAVE, RATE, subtype="IMA_ADPCM"), WAVE, ROUGH),
    "adpcm of microsoft": (written(WAVE, RATE, subtype="MS_ADPCM"), WAVE, ROUGH),
    "wav of 64 bits": (written(WAVE, RATE, "RF64"), WAVE, FINE),
    "wave64": (written(WAVE, RATE, "W64"), WAVE, FINE),
    "aiff": (written(WAVE, RATE, "AIFF"), WAVE, FINE),
    "aiff of floats": (written(WAVE, RATE, "AIFF", "FLOAT"), WAVE, FINE),
    "au": (written(WAVE, RATE, "AU"), WAVE, FINE),
    "au by the law of mu": (written(WAVE, RATE, "AU", "ULAW"), WAVE, ROUGH),
    "caf": (written(WAVE, RATE, "CAF"), WAVE, FINE),
    "caf without loss": (written(WAVE, RATE, "CAF", "ALAC_16"), WAVE, FINE),
    "flac of 8 bits": (written(WAVE, RATE, "FLAC", "PCM_S8"), WAVE, 1 / 100),
    "flac of 24 bits": (written(WAVE, RATE, "FLAC", "PCM_24"), WAVE, FINE),
    "vorbis": (written(WAVE, RATE, "OGG", "VORBIS"), WAVE, ROUGH),
    "two channels": (stereo(WAVE, WAVE / 2), 0.75 * WAVE, FINE),
    "two channels, one silent": (stereo(WAVE, 0 * WAVE), WAVE / 2, FINE),
    "two channels of a phone call": (stereo(WAVE, -WAVE), WAVE, FINE),
    "six channels": (written(SURROUND, RATE), WAVE / 2, FINE),
    "two channels of flac": (stereo(WAVE, WAVE / 2, form="FLAC"), 0.75 * WAVE, FINE),
    "off its middle": (written(WAVE / 2 + 0.25, RATE), WAVE / 2 + 0.25, FINE),
    "clipped": (written(np.clip(9 * WAVE, -1, 1), RATE), np.clip(9 * WAVE, -1, 1), FINE),
    "the highest tone that there is": (written(HALF, RATE), HALF, FINE),
    "10 samples": (written(WAVE[:10], RATE), WAVE[:10], FINE),
    "1 sample": (written(WAVE[1:2], RATE), WAVE[1:2], FINE),
    "silence": (written(0 * WAVE, RATE), 0 * WAVE, 0),
    "denormal floats": (written(np.full(99, 1e-42, np.float32), RATE, subtype="FLOAT"), np.zeros(99), 1e-30),
}


@pytest.mark.parametrize("name", CASES)
def test_odd_recordings_are_read_by_value(name):
    content, expected, tolerance = CASES[name]
    decoded = decode(content, "it.wav", 5)
    assert decoded.rate == RATE
    wave, after = np.split(decoded.steps.wave, [len(expected)])
    begun = 16 if "adpcm" in name else 0  # these formats follow a wave after some steps
    np.testing.assert_allclose(wave[begun:], expected[begun:], atol=tolerance)
    # Formats that are made of blocks end with a whole one.
    assert not len(after) or ("adpcm" in name and np.abs(after).max() < ROUGH)


@pytest.mark.parametrize("form", ["MP3", "OPUS"])
@pytest.mark.parametrize("channels", [1, 2])
def test_what_is_heard_is_kept_by_formats_that_lose_and_shift(form, channels):
    wave = sine(1_000, 0.5, 16_000)
    both = np.column_stack([wave] * channels)
    file, subtype = ("OGG", "OPUS") if form == "OPUS" else (form, "MPEG_LAYER_III")
    content = written(both, 16_000, file, subtype)
    decoded = decode(TAG + content if form == "MP3" else content, "it.mp3", 5)
    heard = decoded.steps.wave
    assert decoded.rate == 16_000
    assert len(heard) == pytest.approx(len(wave), abs=3_000)
    middle = heard[2_000:6_000]
    assert np.abs(np.fft.rfft(middle)).argmax() == pytest.approx(250, abs=1)
    assert np.abs(middle).max() == pytest.approx(0.5, abs=0.05)


BROKEN = {
    "a page that says not found": b"<!DOCTYPE html><html><body>404</body></html>",
    "a pointer to a large file": b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 5\n",
    "a zip": b"PK\x03\x04" + bytes(300),
    "an mp4": b"\0\0\0\x20ftypM4A " + bytes(300),
    "a midi": b"MThd\0\0\0\6\0\1\0\1\0\x60" + bytes(99),
    "a wav without a format": wav(data()),
    "a wav without samples": wav(fmt()),
    "a wav of no channels": wav(fmt(channels=0), data()),
    "a wav of 500 channels": wav(fmt(channels=500), data()),
    "a wav of no rate": wav(fmt(rate=0), data()),
    "a wav of an unknown sort": wav(fmt(kind=0x7777), data()),
    "a wav with its format twice and nothing else": wav(fmt(), fmt()),
    "an ogg that ends": written(WAVE, RATE, "OGG", "VORBIS")[:90],
    "a flac without frames": written(WAVE, RATE, "FLAC")[:42],
    "an aiff that ends": written(WAVE, RATE, "AIFF")[:40],
    "infinite samples": written(np.full(99, np.inf, np.float32), RATE, subtype="FLOAT"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_what_is_no_recording_is_refused_by_name(name):
    with pytest.raises(InvalidTaskError, match=r"it\.wav"):
        decode(BROKEN[name], "it.wav", 5)


COUNT = 24
LABELS = [("yes", "no")[i % 2] for i in range(COUNT)]
WAVES = [sine(300 + 20 * i, 0.1, RATE, 0.3 + 0.02 * i) for i in range(COUNT)]
STEPPED = np.stack([np.rint(one * 32767).astype(np.int16) for one in WAVES])
CONTENT = [written(one, RATE) for one in STEPPED]
NAMES = [f"{label}/{i:02}.wav" for i, label in enumerate(LABELS)]
EXPECTED = {(one.tobytes(), label) for one, label in zip(STEPPED, LABELS, strict=True)}


def write(folder, names=NAMES, contents=CONTENT):
    return write_files(folder, names, contents)


def listed(path, names=NAMES, **more):
    write(path.parent)
    frame = pd.DataFrame({"filename": names, "word": LABELS, **more})
    frame.to_csv(path, index=False)
    return path


def packed(path, before="", more=()):
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in [*((before + name, one) for name, one in zip(NAMES, CONTENT, strict=True)), *more]:
            archive.writestr(name, content)
    return path


def arrays(path, **given):
    np.savez(path, **{"wave": STEPPED, "y": np.array(LABELS), "rate": RATE} | given)
    return path


SOURCES = {
    "a folder": lambda p: write(p / "d"),
    "endings in capitals": lambda p: write(p / "d", [name.upper().lower().replace(".wav", ".WAV") for name in NAMES]),
    "flacs called wav": lambda p: write(p / "d", contents=[written(one, RATE, "FLAC") for one in STEPPED]),
    "what systems add": lambda p: write(
        write(p / "d"), ["yes/.DS_Store", "yes/._00.wav", "Thumbs.db", "no/@eaDir/0.wav"], CONTENT[:4]
    ),
    "a text beside each": lambda p: write(write(p / "d"), ["README.txt", "yes/00.txt"], [b"read me", b"what is said"]),
    "a folder above in a zip": lambda p: packed(p / "a.zip", "export/words/"),
    "a zip of a mac": lambda p: packed(p / "a.zip", "w/", [("__MACOSX/w/yes/._00.wav", b"\0\5\26\7")]),
    "a table": lambda p: listed(p / "t.csv"),
    "a table with backslashes": lambda p: listed(p / "t.csv", [name.replace("/", "\\") for name in NAMES]),
    "a table of full paths": lambda p: listed(p / "t.csv", [str(p / name) for name in NAMES]),
    "a table with speakers": lambda p: listed(p / "t.csv", speaker=[f"s{i % 6}" for i in range(COUNT)]),
    "arrays": lambda p: arrays(p / "a.npz"),
    "arrays the high byte first": lambda p: arrays(p / "a.npz", wave=STEPPED.astype(">i2")),
    "arrays of floats": lambda p: arrays(p / "a.npz", wave=STEPPED / np.float32(32_768)),
    "arrays of 32 bits": lambda p: arrays(p / "a.npz", wave=STEPPED.astype(np.int32) << 16),
    "arrays end to end": lambda p: arrays(
        p / "a.npz", wave=STEPPED.ravel(), offset=np.arange(0, STEPPED.size + 1, STEPPED.shape[1])
    ),
    "arrays with codes": lambda p: arrays(p / "a.npz", y=np.arange(COUNT) % 2, class_names=np.array(["yes", "no"])),
    "arrays with a rate of floats": lambda p: arrays(p / "a.npz", rate=np.array([8_000.0])),
}


@pytest.mark.parametrize("name", SOURCES)
def test_the_same_recordings_are_found_however_they_are_kept(tmp_path, name):
    found = read_source(SOURCES[name](tmp_path))
    assert (found.task.modality, found.task.rows, found.items.rate) == ("audio", COUNT, RATE)
    pairs = {
        (found.items.steps(i).samples.astype(np.int16).tobytes(), found.class_names[label])
        for i, label in enumerate(found.target)
    }
    assert pairs == EXPECTED


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda p: write(p / "d", contents=[b""] * COUNT), "no/01.wav; the file is empty.*24 cannot be read"),
        (lambda p: write(p / "d", contents=CONTENT[:1] * COUNT), "at least 20 different items"),
        (lambda p: write(p / "d", [f"{i}.wav" for i in range(COUNT)]), "a folder for each class"),
        (lambda p: write(p / "d", [f"yes/{i}.wav" for i in range(COUNT)]), "at least 2 classes"),
        (lambda p: listed(p / "t.csv", [f"x/{name}" for name in NAMES]), "24 of 24 are not there"),
        (lambda p: listed(p / "t.csv", [f"../{name}" for name in NAMES]), "below"),
        (lambda p: arrays(p / "a.npz", rate=np.array("fast")), "the rate of the recordings"),
        (lambda p: arrays(p / "a.npz", wave=STEPPED[:5]), "found 5 recordings"),
        (lambda p: arrays(p / "a.npz", wave=STEPPED * 1j), r"found waves complex128"),
        (lambda p: arrays(p / "a.npz", wave=np.full(STEPPED.shape, np.nan)), "at least 20 different items"),
    ],
)
def test_what_cannot_be_a_task_is_refused(tmp_path, make, match):
    with pytest.raises(InvalidTaskError, match=match):
        read_source(make(tmp_path), modality="audio")
