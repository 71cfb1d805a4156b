import io
import struct
import wave as plain_wave

import numpy as np
import pytest
import soundfile

from metaflow_hpo.errors import InvalidTaskError
from metaflow_hpo.modalities.audio import decoding
from metaflow_hpo.modalities.audio.decoding import MAX_RATE, decode
from tests.modalities.audio.sounds import pitch_of, sine, written


@pytest.fixture(params=["soundfile", "standard library"])
def reader(request, monkeypatch):
    if request.param == "standard library":
        monkeypatch.setattr(decoding, "_import_soundfile", lambda: None)


@pytest.mark.parametrize(("width", "error"), [(1, 1 / 128), (2, 1 / 32768), (3, 1.6e-5), (4, 1.6e-5)])
@pytest.mark.usefixtures("reader")
def test_whole_numbers_of_every_width_are_shares_of_full_scale(width, error):
    expected = np.array([0.0, 0.5, -0.5, 0.25, -1.0, 0.75], np.float64)
    steps = (expected * 2 ** (8 * width - 1)).astype(np.int64)
    raw = b"".join(int(s + 128 if width == 1 else s).to_bytes(width, "little", signed=width > 1) for s in steps)
    file = io.BytesIO()
    with plain_wave.open(file, "wb") as out:
        out.setparams((1, width, 8000, 0, "NONE", ""))
        out.writeframes(raw)

    decoded = decode(file.getvalue(), "a.wav", 5)

    assert decoded.rate == 8000
    assert decoded.steps.wave.dtype == np.float32
    np.testing.assert_allclose(decoded.steps.wave, expected, atol=error)


@pytest.mark.parametrize(
    ("form", "subtype", "error"),
    [
        ("WAV", "FLOAT", 1.6e-5),
        ("WAV", "DOUBLE", 1.6e-5),
        ("WAV", "ULAW", 0.02),
        ("WAVEX", "PCM_24", 1.6e-5),
        ("FLAC", "PCM_16", 1 / 32768),
        ("FLAC", "PCM_24", 1.6e-5),
        ("OGG", "VORBIS", 0.05),
        ("MP3", "MPEG_LAYER_III", 0.05),
        ("AIFF", "PCM_16", 1 / 32768),
    ],
)
def test_formats_give_the_samples_that_were_written(form, subtype, error):
    wave = sine(440)
    decoded = decode(written(wave, form=form, subtype=subtype), "a", 5)
    assert (decoded.rate, decoded.is_cut, decoded.mended) == (16_000, False, 0)
    np.testing.assert_allclose(decoded.steps.wave[: len(wave)], wave, atol=error)


def test_the_content_says_the_format_not_the_name():
    assert len(decode(written(sine(), form="FLAC"), "really_a_flac.wav", 5).steps.wave) == 8000


@pytest.mark.usefixtures("reader")
def test_channels_are_averaged():
    both = np.column_stack([np.full(100, 0.5), np.full(100, -0.25)]).astype(np.float32)
    np.testing.assert_allclose(decode(written(both), "a", 5).steps.wave, 0.125, atol=1e-4)


def test_of_channels_that_cancel_each_other_the_loudest_is_kept():
    wave = sine()
    decoded = decode(written(np.column_stack([wave, -wave])), "a", 5)
    np.testing.assert_allclose(decoded.steps.wave, wave, atol=1e-4)


@pytest.mark.parametrize("rate", [44_100, 48_000, 22_050, 96_000])
def test_high_rates_become_16_khz_and_sounds_keep_pitch_and_loudness(rate):
    decoded = decode(written(sine(1000, rate=rate), rate), "a", 5)
    assert decoded.rate == MAX_RATE
    assert len(decoded.steps.wave) == 8000
    assert pitch_of(decoded.steps.wave, MAX_RATE) == pytest.approx(1000, abs=3)
    assert np.abs(decoded.steps.wave[1000:-1000]).max() == pytest.approx(0.5, abs=0.01)


def test_what_16_khz_cannot_hold_is_left_out():
    decoded = decode(written(sine(12_000, rate=48_000), 48_000), "a", 5)
    assert np.abs(decoded.steps.wave[500:-500]).max() < 0.01


@pytest.mark.parametrize("rate", [8000, 11_025, 6000])
def test_low_rates_stay(rate):
    assert decode(written(sine(rate=rate), rate), "a", 5).rate == rate


@pytest.mark.usefixtures("reader")
def test_long_recordings_are_cut():
    decoded = decode(written(sine(seconds=3)), "a", 2)
    assert decoded.is_cut
    assert len(decoded.steps.wave) == 32_000
    assert not decode(written(sine(seconds=2)), "a", 2).is_cut


@pytest.mark.usefixtures("reader")
def test_a_truncated_wav_gives_what_is_there():
    content = written(sine())
    np.testing.assert_allclose(decode(content[: 44 + 2001], "a", 5).steps.wave, sine()[:1000], atol=1e-4)


def test_what_is_no_number_becomes_silence_and_is_counted():
    wave = sine()
    wave[[3, 7, 9]] = np.nan, np.inf, -np.inf
    decoded = decode(written(wave, subtype="FLOAT"), "a", 5)
    assert decoded.mended == 3
    assert (decoded.steps.wave[[3, 7, 9]] == 0).all()


_BROKEN = {
    "empty": b"",
    "text": b"this is no sound at all",
    "zeros": b"\0" * 5000,
    "noise": np.random.default_rng(0).bytes(20_000),
    "picture": b"\x89PNG\r\n\x1a\n" + b"x" * 500,
    "head of a wav": written(sine())[:30],
    "no samples": written(sine()[:0]),
    "head alone": written(sine())[:44],
    "half a flac": written(np.random.default_rng(0).normal(size=8000) / 9, form="FLAC")[:6000],
    "riff without data": b"RIFF\x24\x00\x00\x00WAVEfmt ",
    "tag of an mp3": b"ID3\x04\x00\x00\x00\x00\x00\x0a" + b"\0" * 50,
    "one sample a second": written(sine(), 1),
    "a rate of 4 GHz": written(sine())[:24] + struct.pack("<II", 4_000_000_000, 1) + written(sine())[32:],
    "nothing but NaN": written(np.full(500, np.nan, np.float32), subtype="FLOAT"),
}


@pytest.mark.parametrize("content", _BROKEN.values(), ids=_BROKEN.keys())
@pytest.mark.usefixtures("reader")
def test_what_cannot_be_a_recording_is_refused_by_name(content):
    with pytest.raises(InvalidTaskError, match=r"broken\.wav"):
        decode(content, "broken.wav", 5)


def test_a_file_of_hours_is_read_at_its_beginning_only():
    hours = written(np.zeros(3_000_000, np.int16), 8000, "FLAC")  # small, though it lasts
    decoded = decode(hours, "a", 1)
    assert len(decoded.steps.wave) == 8000
    assert decoded.is_cut


def test_without_soundfile_others_than_plain_wav_name_what_to_install(monkeypatch):
    monkeypatch.setattr(decoding, "_import_soundfile", lambda: None)
    for content in (written(sine(), form="FLAC"), written(sine(), subtype="FLOAT")):
        with pytest.raises(InvalidTaskError, match=r"metaflow-hpo\[audio\]"):
            decode(content, "a.flac", 5)


def test_soundfile_is_found_here():
    assert decoding._import_soundfile() is soundfile
