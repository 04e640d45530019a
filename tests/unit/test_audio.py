"""Tests of reading, caching and writing audio."""

import os
import pickle
import shutil

import numpy as np
import pytest
import soundfile as sf
import torch

from speechbrain_lmac.checks import UserError
from speechbrain_lmac.data.audio import (
    AudioCache,
    AudioError,
    audio_info,
    expected_num_samples,
    read_audio,
    write_wav,
)


@pytest.fixture
def noise():
    return np.random.default_rng(0).uniform(-0.5, 0.5, 44100).astype("float32")


def tone(frequency, sample_rate, seconds=1.0):
    time = np.arange(int(sample_rate * seconds)) / sample_rate
    return 0.5 * np.sin(2 * np.pi * frequency * time).astype("float32")


def test_downmix_is_the_mean_of_the_channels(tmp_path):
    stereo = np.array([[0.5, -0.25], [0.25, 0.25], [0.0, 0.5]], "float32")
    sf.write(tmp_path / "a.wav", stereo, 16000, subtype="FLOAT")
    waveform = read_audio(tmp_path / "a.wav", normalize=False)
    assert waveform.dtype == torch.float32
    assert waveform.tolist() == [0.125, 0.25, 0.25]
    assert read_audio(tmp_path / "a.wav").tolist() == [0.5, 1.0, 1.0]


@pytest.mark.parametrize("rate", [8000, 11025, 22050, 44100, 48000, 96000])
def test_a_tone_keeps_its_frequency_and_amplitude(tmp_path, rate):
    sf.write(tmp_path / "a.wav", tone(1000, rate), rate, subtype="FLOAT")
    waveform = read_audio(tmp_path / "a.wav", 16000, normalize=False)
    assert waveform.shape == (16000,)
    # The ends ring; within, the resampler is flat to 1 % at 1 kHz.
    expected = torch.from_numpy(tone(1000, 16000))
    inner = slice(500, -500)
    assert (waveform - expected)[inner].abs().max() < 0.005


def test_a_tone_above_the_new_nyquist_vanishes(tmp_path):
    sf.write(tmp_path / "a.wav", tone(12000, 44100), 44100)
    waveform = read_audio(tmp_path / "a.wav", normalize=False)
    assert waveform[500:-500].abs().max() < 0.005


@pytest.mark.parametrize("rate", [8000, 11024, 11025, 22050, 44100, 96000])
# The last: 160 / 441 of it is 1 / 441 above an integer, less than float32 tells
# from that integer.
@pytest.mark.parametrize("frames", [1, 7, 4411, 60 * 44100 + 328])
def test_expected_num_samples(tmp_path, rate, frames):
    sf.write(tmp_path / "a.wav", np.zeros(frames, "float32"), rate)
    info = audio_info(tmp_path / "a.wav")
    assert info.num_frames == frames and info.channels == 1
    assert info.duration == frames / rate
    # 11024 and 22050 share so little that their filter takes seconds to make.
    for target in (16000,) if rate == 11024 else (16000, 22050):
        waveform = read_audio(tmp_path / "a.wav", target)
        assert len(waveform) == expected_num_samples(info, target)


def test_silence_stays_zero(tmp_path):
    sf.write(tmp_path / "a.wav", np.zeros(800, "float32"), 8000)
    waveform = read_audio(tmp_path / "a.wav")
    assert waveform.shape == (1600,) and (waveform == 0).all()


FORMATS = {
    "WAV": ("WAV", "PCM_16"),
    "WAV24": ("WAV", "PCM_24"),
    "float": ("WAV", "FLOAT"),
    "WAVEX": ("WAVEX", "PCM_16"),
    "RF64": ("RF64", "PCM_16"),
    "W64": ("W64", "PCM_16"),
    "AIFF": ("AIFF", "PCM_16"),
    "AU": ("AU", "PCM_16"),
    "CAF": ("CAF", "PCM_16"),
    "FLAC": ("FLAC", "PCM_16"),
    "Vorbis": ("OGG", "VORBIS"),
    "mp3": ("MP3", None),
}


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("part", [0.9, 0.5, 0.01])
def test_truncated_files_are_refused(tmp_path, noise, name, part):
    file_format, subtype = FORMATS[name]
    if file_format not in sf.available_formats():
        pytest.skip(f"this libsndfile has no {file_format}")
    path = tmp_path / "a.audio"
    sf.write(path, noise, 44100, format=file_format, subtype=subtype)
    assert len(read_audio(path)) == 16000
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * part)])
    with pytest.raises(UserError, match="a.audio: .*get it again|Get it again"):
        read_audio(path)


@pytest.mark.parametrize("size", [0xFFFFFFFF, 0x7FFFF000])
def test_wav_written_to_a_pipe_is_complete(tmp_path, noise, size):
    path = tmp_path / "a.wav"
    sf.write(path, noise, 44100)
    data = bytearray(path.read_bytes())
    data[40:44] = size.to_bytes(4, "little")
    path.write_bytes(data)
    assert len(read_audio(path)) == 16000


def test_unusable_files(tmp_path):
    cases = {"absent.wav": "does not exist", "folder.wav": "a folder"}
    (tmp_path / "folder.wav").mkdir()
    (tmp_path / "zero.wav").write_bytes(b"")
    cases["zero.wav"] = "0 bytes"
    (tmp_path / "text.wav").write_text("not audio\n" * 100)
    cases["text.wav"] = "expected an audio file"
    sf.write(tmp_path / "empty.wav", np.zeros(0, "float32"), 16000)
    cases["empty.wav"] = "0 samples"
    for name, value in (("nan", np.nan), ("inf", np.inf)):
        samples = np.zeros(100, "float32")
        samples[50] = value
        sf.write(tmp_path / f"{name}.wav", samples, 16000, subtype="FLOAT")
        cases[f"{name}.wav"] = "NaN or infinite"
    for name, reason in cases.items():
        with pytest.raises(UserError, match=reason) as caught:
            read_audio(tmp_path / name)
        assert str(caught.value).startswith(str(tmp_path / name))
        copy = pickle.loads(pickle.dumps(caught.value))
        assert str(copy) == str(caught.value) and copy.path == caught.value.path


@pytest.mark.parametrize("rate", [44101, 15999, 11026])
def test_odd_rates(tmp_path, rate):
    tone = np.sin(2 * np.pi * 1000 * np.arange(rate // 2) / rate)
    sf.write(tmp_path / "odd.wav", 0.5 * tone, rate, subtype="FLOAT")
    waveform = read_audio(tmp_path / "odd.wav", normalize=False)
    info = audio_info(tmp_path / "odd.wav")
    assert len(waveform) == expected_num_samples(info, 16000)
    expected = 0.5 * np.sin(2 * np.pi * 1000 * np.arange(8000) / 16000)
    # Away from the ends, where any resampler rings.
    inner = slice(800, 7000)
    error = np.abs(waveform.numpy()[inner] - expected[inner]).max()
    assert error < 5e-3


def test_cache_decodes_once(tmp_path, noise, monkeypatch):
    path = tmp_path / "a.wav"
    sf.write(path, noise, 44100)
    cache = AudioCache(tmp_path / "cache")
    first = cache(path)
    assert torch.equal(first, read_audio(path))
    monkeypatch.setattr(
        "speechbrain_lmac.data.audio.read_audio",
        lambda *_: pytest.fail("decoded again"),
    )
    monkeypatch.chdir(tmp_path)  # the same file under another spelling
    assert torch.equal(cache("a.wav"), first)
    assert torch.equal(pickle.loads(pickle.dumps(cache))(path), first)
    assert [p.suffix for p in (tmp_path / "cache").iterdir()] == [".npy"]


def test_cache_follows_the_file_and_the_settings(tmp_path, noise):
    path = tmp_path / "a.wav"
    sf.write(path, noise, 16000)
    cache = AudioCache(tmp_path / "cache")
    before = cache(path)
    stat = path.stat()
    sf.write(path, noise[::-1], 16000)  # same size, another time
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns + 1))
    assert torch.equal(cache(path), before.flip(0))
    raw = AudioCache(tmp_path / "cache", normalize=False)(path)
    assert raw.abs().max() < 0.51
    slow = AudioCache(tmp_path / "cache", sample_rate=8000)(path)
    assert len(slow) == 22050
    assert len(list((tmp_path / "cache").iterdir())) == 4


@pytest.mark.parametrize("damage", ["cut", "flipped", "empty", "tiny"])
def test_damaged_cache_entry_is_rebuilt(tmp_path, noise, damage):
    path = tmp_path / "a.wav"
    sf.write(path, noise, 16000)
    cache = AudioCache(tmp_path / "cache")
    expected = cache(path)
    entry = cache.entry(path)
    data = bytearray(entry.read_bytes())
    whole = bytes(data)
    data[5000] ^= 1
    damaged = {"cut": whole[:-9], "flipped": data, "empty": b"", "tiny": b"x"}
    entry.write_bytes(damaged[damage])
    assert torch.equal(cache(path), expected)
    assert entry.read_bytes() == whole


def test_cache_without_folder_writes_nothing(tmp_path, noise):
    sf.write(tmp_path / "a.wav", noise, 44100)
    assert len(AudioCache()(tmp_path / "a.wav")) == 16000
    assert [p.name for p in tmp_path.iterdir()] == ["a.wav"]


def test_cache_errors(tmp_path, noise):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cache folder .*file"):
        AudioCache(tmp_path / "file")
    cache = AudioCache(tmp_path / "cache")
    with pytest.raises(AudioError, match="absent.wav: the file does not"):
        cache(tmp_path / "absent.wav")
    sf.write(tmp_path / "a.wav", noise, 44100)
    shutil.rmtree(tmp_path / "cache")
    with pytest.raises(UserError, match="cannot be written"):
        cache(tmp_path / "a.wav")


def test_write_wav_round_trip(tmp_path):
    generator = torch.Generator().manual_seed(0)
    waveform = torch.rand(1000, generator=generator) * 2 - 1
    assert write_wav(tmp_path / "a.wav", waveform, 22050) == 1.0
    info = sf.info(tmp_path / "a.wav")
    assert (info.samplerate, info.channels) == (22050, 1)
    assert info.subtype == "PCM_16"
    back = read_audio(tmp_path / "a.wav", 22050, normalize=False)
    # Half a step of 16 bits, and a whole one at full scale.
    torch.testing.assert_close(back, waveform, atol=1 / 32768, rtol=0)
    assert [p.name for p in tmp_path.iterdir()] == ["a.wav"]


def test_write_wav_scales_instead_of_clipping(tmp_path):
    waveform = torch.tensor([0.5, -4.0, 3.0, 2.0])
    assert write_wav(tmp_path / "a.wav", waveform, 16000) == 0.25
    back = read_audio(tmp_path / "a.wav", normalize=False)
    torch.testing.assert_close(back, waveform / 4, atol=1 / 32768, rtol=0)


@pytest.mark.parametrize(
    "waveform",
    [torch.zeros(1, 9), torch.zeros(0), torch.tensor([0.0, float("nan")])],
)
def test_write_wav_refuses(tmp_path, waveform):
    with pytest.raises(ValueError, match="Expected a .*waveform"):
        write_wav(tmp_path / "a.wav", waveform, 16000)
    assert not list(tmp_path.iterdir())
