"""Tests of reading, caching and writing audio."""

import multiprocessing
import os
import pickle
import shutil

import numpy as np
import pytest
import soundfile as sf
import torch

from speechbrain_lmac.data.audio import (
    AudioCache,
    AudioError,
    audio_info,
    expected_num_samples,
    read_audio,
    write_wav,
)
from speechbrain_lmac.utils.checks import UserError


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


@pytest.mark.parametrize(
    "damage", ["cut", "flipped", "empty", "tiny", "zeros", "four zeros"]
)
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
    damaged |= {"zeros": bytes(len(whole)), "four zeros": bytes(4)}
    entry.write_bytes(damaged[damage])
    assert torch.equal(cache(path), expected)
    assert entry.read_bytes() == whole


def test_cache_without_folder_writes_nothing(tmp_path, noise):
    sf.write(tmp_path / "a.wav", noise, 44100)
    assert len(AudioCache()(tmp_path / "a.wav")) == 16000
    assert [p.name for p in tmp_path.iterdir()] == ["a.wav"]


def test_cache_errors(tmp_path):
    (tmp_path / "file").write_text("")
    for folder in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(UserError, match="cache folder .*file"):
            AudioCache(folder)
    cache = AudioCache(tmp_path / "cache")
    with pytest.raises(AudioError, match="absent.wav: the file does not"):
        cache(tmp_path / "absent.wav")
    for size in (0, -1, float("nan")):
        with pytest.raises(UserError, match=f"cache_size_gb.*{size}"):
            AudioCache(tmp_path / "cache", size_gb=size)


@pytest.mark.parametrize("broken", ["mkdir", "gone", "full"])
def test_a_cache_that_cannot_be_written_costs_a_warning(
    tmp_path, noise, monkeypatch, caplog, broken
):
    def refuse(*args, **kwargs):
        raise OSError(28, "No space left on device")

    for name in "ab":
        sf.write(tmp_path / f"{name}.wav", noise, 44100)
    if broken == "mkdir":
        monkeypatch.setattr("pathlib.Path.mkdir", refuse)
    cache = AudioCache(tmp_path / "cache")
    if broken == "gone":
        shutil.rmtree(tmp_path / "cache")
    elif broken == "full":
        monkeypatch.setattr("os.replace", refuse)
    for name in "abab":
        expected = read_audio(tmp_path / f"{name}.wav")
        assert torch.equal(cache(tmp_path / f"{name}.wav"), expected)
    assert caplog.text.count("cannot be written") == 1
    if broken == "full":
        assert not list((tmp_path / "cache").iterdir())


def test_a_read_only_cache_is_read(tmp_path, noise, monkeypatch, caplog):
    sf.write(tmp_path / "a.wav", noise, 44100)
    expected = AudioCache(tmp_path / "cache")(tmp_path / "a.wav")
    cache = AudioCache(tmp_path / "cache")
    os.utime(cache.entry(tmp_path / "a.wav"), (1, 1))

    def refuse(*args, **kwargs):
        raise PermissionError(30, "Read-only file system")

    monkeypatch.setattr("os.utime", refuse)
    monkeypatch.setattr("speechbrain_lmac.data.audio.read_audio", refuse)
    assert torch.equal(cache(tmp_path / "a.wav"), expected)
    assert not caplog.text


def test_cache_is_keyed_by_content(tmp_path, noise):
    (tmp_path / "moved").mkdir()
    sf.write(tmp_path / "a.wav", noise, 44100)
    shutil.copy(tmp_path / "a.wav", tmp_path / "moved" / "b.wav")
    cache = AudioCache(tmp_path / "cache")
    expected = cache(tmp_path / "a.wav")
    assert cache.entry(tmp_path / "moved" / "b.wav").exists()
    # Other bytes of the same size and times of the old ones.
    stat = (tmp_path / "a.wav").stat()
    sf.write(tmp_path / "a.wav", noise[::-1], 44100)
    os.utime(tmp_path / "a.wav", ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert (tmp_path / "a.wav").stat().st_size == stat.st_size
    assert not torch.equal(cache(tmp_path / "a.wav"), expected)


def test_a_file_is_hashed_once(tmp_path, noise, monkeypatch):
    sf.write(tmp_path / "a.wav", noise, 44100)
    cache = AudioCache(tmp_path / "cache")
    cache(tmp_path / "a.wav")
    monkeypatch.setattr(
        "pathlib.Path.read_bytes", lambda *_: pytest.fail("read again")
    )
    cache(tmp_path / "a.wav")


def test_cache_stays_within_its_size(tmp_path):
    generator = np.random.default_rng(0)
    entry = 4 * 16000 + 132  # samples, header, checksum
    cache = AudioCache(tmp_path / "cache", size_gb=10.5 * entry / 1e9)
    foreign = tmp_path / "cache" / "mine.npy"
    foreign.write_bytes(bytes(10 * entry))
    paths = []
    for number in range(30):
        paths.append(tmp_path / f"{number}.wav")
        sf.write(paths[-1], generator.uniform(-0.5, 0.5, 16000), 16000)
        cache(paths[-1])
        # In the order of their making; the first one is used all the time.
        os.utime(cache.entry(paths[-1]), (number, number))
        os.utime(cache.entry(paths[0]), (1000, 1000))
        sizes = [p.stat().st_size for p in (tmp_path / "cache").glob("?" * 44)]
        assert sum(sizes) <= cache.max_bytes
        assert set(sizes) == {entry}
    kept = [n for n, path in enumerate(paths) if cache.entry(path).exists()]
    assert kept == [0, *range(30 - len(kept) + 1, 30)] and len(kept) >= 9
    assert foreign.exists()


def test_using_an_entry_keeps_it(tmp_path, noise):
    sf.write(tmp_path / "a.wav", noise, 16000)
    cache = AudioCache(tmp_path / "cache")
    cache(tmp_path / "a.wav")
    entry = cache.entry(tmp_path / "a.wav")
    os.utime(entry, (1, 1))
    cache(tmp_path / "a.wav")
    assert entry.stat().st_mtime > 1e9


def test_a_clip_larger_than_the_cache_leaves_the_others(tmp_path, noise):
    sf.write(tmp_path / "a.wav", noise[:1000], 16000)
    sf.write(tmp_path / "b.wav", noise, 16000)
    cache = AudioCache(tmp_path / "cache", size_gb=1e-5)
    for name in "abab":
        assert torch.equal(
            cache(tmp_path / f"{name}.wav"),
            read_audio(tmp_path / f"{name}.wav"),
        )
    assert list((tmp_path / "cache").iterdir()) == [
        cache.entry(tmp_path / "a.wav")
    ]


def test_leftovers_of_killed_processes_are_removed(tmp_path, noise):
    sf.write(tmp_path / "a.wav", noise, 16000)
    old, new = (tmp_path / "cache" / f".tmp-{c * 32}" for c in "0a")
    cache = AudioCache(tmp_path / "cache")
    old.write_bytes(b"x")
    new.write_bytes(b"x")  # another process is about to rename it
    os.utime(old, (1, 1))
    cache(tmp_path / "a.wav")
    assert not old.exists() and new.exists()


def fill(folder, paths, order):
    """What each of several processes does with one cache."""
    cache = AudioCache(folder, size_gb=2e-4)
    for number in np.random.default_rng(order).permutation(len(paths)):
        waveform = cache(paths[number])
        assert torch.equal(waveform, read_audio(paths[number]))


def test_several_processes_fill_one_cache(tmp_path):
    paths = []
    for number in range(12):  # three more than there is room for
        samples = np.random.default_rng(number).uniform(-0.5, 0.5, 5400)
        paths.append(tmp_path / f"{number}.wav")
        sf.write(paths[-1], samples, 16000)
    fork = multiprocessing.get_context("fork")
    workers = [
        fork.Process(target=fill, args=(tmp_path / "cache", paths, order))
        for order in range(4)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
        assert worker.exitcode == 0
    entries = list((tmp_path / "cache").iterdir())
    assert entries and all(entry.suffix == ".npy" for entry in entries)
    # Three more writers, 2 % each, and the entries that they were writing.
    size = sum(entry.stat().st_size for entry in entries)
    assert size <= 2e5 * 1.06 + 3 * entries[0].stat().st_size


def test_rates_that_cannot_be(tmp_path, noise):
    for rate in (1, 999, 4_000_001, 2**31 - 1):
        sf.write(tmp_path / "a.wav", noise[:100], 8000)
        data = bytearray((tmp_path / "a.wav").read_bytes())
        data[24:28] = rate.to_bytes(4, "little")
        (tmp_path / "a.wav").write_bytes(data)
        with pytest.raises(AudioError, match=f"sample rate of {rate} Hz"):
            read_audio(tmp_path / "a.wav")


def test_headerless_files_are_refused(tmp_path):
    """libsndfile takes any bytes for mu-law if the file is named .au."""
    (tmp_path / "a.au").write_bytes(b"not audio at all" * 100)
    with pytest.raises(AudioError, match="no header"):
        read_audio(tmp_path / "a.au")


def test_sums_that_overflow_are_refused(tmp_path):
    loud = np.full((100, 2), 3e38, "float32")
    sf.write(tmp_path / "a.wav", loud, 16000, subtype="FLOAT")
    with pytest.raises(AudioError, match="values up to [23]"):
        read_audio(tmp_path / "a.wav")


def test_names_that_no_file_can_have(tmp_path):
    for name in ("x" * 5000, "a\0b"):
        for read in (read_audio, AudioCache(tmp_path / "cache")):
            with pytest.raises(AudioError, match="cannot be reached"):
                read(tmp_path / name)


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
