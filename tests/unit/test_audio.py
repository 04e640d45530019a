"""Tests of reading, caching and writing audio."""

import io
import multiprocessing
import os
import pickle
import struct

import numpy as np
import pytest
import soundfile as sf
import torch

from speechbrain_lmac.data import decoding, mp3
from speechbrain_lmac.data.audio import (
    AudioCache,
    load_audio,
    mono_sound,
    read_audio,
    write_wav,
)
from speechbrain_lmac.data.decoding import AudioError, audio_info
from speechbrain_lmac.utils.checks import UserError

RATE = 16000


@pytest.fixture
def noise():
    return np.random.default_rng(0).uniform(-0.5, 0.5, 44100).astype("float32")


def tone(frequency, sample_rate, seconds=1.0):
    time = np.arange(int(sample_rate * seconds)) / sample_rate
    return 0.5 * np.sin(2 * np.pi * frequency * time).astype("float32")


def encoded(samples, rate=RATE, **options):
    """The bytes of a file."""
    buffer = io.BytesIO()
    sf.write(buffer, samples, rate, **{"format": "WAV", **options})
    return bytearray(buffer.getvalue())


# --- what is read ---


def test_downmix_is_the_mean_of_the_channels(tmp_path):
    stereo = np.array([[0.5, -0.25], [0.25, 0.25], [0.0, 0.5]], "float32")
    sf.write(tmp_path / "a.wav", stereo, RATE, subtype="FLOAT")
    waveform = read_audio(tmp_path / "a.wav", normalize=False)
    assert waveform.dtype == torch.float32
    assert waveform.tolist() == [0.125, 0.25, 0.25]
    assert read_audio(tmp_path / "a.wav").tolist() == [0.5, 1.0, 1.0]
    again = mono_sound(torch.from_numpy(stereo.T), RATE)
    assert again.waveform.tolist() == [0.5, 1.0, 1.0]


# The odd ones go through a Fourier transform.
@pytest.mark.parametrize("rate", [8000, 11025, 44100, 96000, 44101, 15999])
def test_a_tone_keeps_its_frequency_and_amplitude(tmp_path, rate):
    sf.write(tmp_path / "a.wav", tone(1000, rate), rate, subtype="FLOAT")
    waveform = read_audio(tmp_path / "a.wav", RATE, normalize=False)
    assert waveform.shape == (RATE,)
    # The ends ring; within, the resampler is flat to 1 % at 1 kHz.
    expected = torch.from_numpy(tone(1000, RATE))
    assert (waveform - expected)[800:-800].abs().max() < 0.005


FORMATS = {
    "wav": {},
    "gsm": {"subtype": "GSM610"},
    "adpcm": {"subtype": "IMA_ADPCM"},
    "g721": {"format": "AU", "subtype": "G721_32"},
    "rf64": {"format": "RF64"},
    "w64": {"format": "W64"},
    "aiff": {"format": "AIFF"},
    "flac": {"format": "FLAC"},
    "vorbis": {"format": "OGG", "subtype": "VORBIS"},
    "opus": {"format": "OGG", "subtype": "OPUS"},
    "mp3": {"format": "MP3"},
}


@pytest.mark.parametrize("name", FORMATS)
def test_blocks_give_the_samples_of_the_whole(tmp_path, monkeypatch, name):
    """What a decoder keeps from block to block is not lost."""
    sound = np.random.default_rng(0).uniform(-0.5, 0.5, 3 * RATE)
    (tmp_path / "a").write_bytes(encoded(sound, **FORMATS[name]))
    whole = sf.read(tmp_path / "a", dtype="float32")[0]
    monkeypatch.setattr(decoding, "BLOCK_SECONDS", 0.37)
    blocks = decoding.decode(tmp_path / "a").mono.numpy()
    # A decoder of MP3 rounds by the place of a sample in its block.
    np.testing.assert_allclose(blocks, whole, rtol=0, atol=2e-7)


@pytest.mark.parametrize("rates", [(44100, 16000), (8000, 44100), (3, 2)])
def test_pieces_resample_as_the_whole(monkeypatch, rates):
    wav = torch.randn(5000)
    whole = decoding.resample(wav, *rates)
    monkeypatch.setattr(decoding, "PIECE", 700)
    torch.testing.assert_close(decoding.resample(wav, *rates), whole)


# --- headers that are wrong, and files that are ---


def sized(data, chunk, offset, layout, *values):
    """A file with other values behind the name of a chunk."""
    at = data.find(chunk) + 4 + offset
    size = struct.calcsize(layout)
    return bytes(data[:at] + struct.pack(layout, *values) + data[at + size :])


def whole_files(noise):
    """Files that are whole, whatever their headers announce."""
    wav, flac = encoded(noise), encoded(noise, format="FLAC")
    ogg, rf64 = (encoded(noise, format=f) for f in ("OGG", "RF64"))
    for size in (0, 0xFFFFFFFF, 0x7FFFFFFF, 0x80000000 - 36, 2 * 44100 + 44):
        yield f"wav data {size:x}", sized(wav, b"data", 0, "<I", size)
    yield "riff 0", sized(wav, b"RIFF", 0, "<I", 0)
    yield "rf64 0", sized(rf64, b"ds64", 4, "<QQQ", 0, 0, 0)
    yield "rf64 -1", sized(rf64, b"ds64", 4, "<qqq", -1, -1, -1)
    yield "rf64 count", sized(rf64, b"ds64", 20, "<Q", 10**6)
    yield "bw64", b"BW64" + bytes(rf64[4:])
    yield "au -1", sized(encoded(noise, format="AU"), b".snd", 4, ">i", -1)
    yield "caf -1", sized(encoded(noise, format="CAF"), b"data", 0, ">q", -1)
    unknown = bytes([flac[21] & 240, *4 * [0]])
    yield "flac stream", bytes(flac[:21] + unknown + flac[26:])
    yield "flac tag", bytes(flac + b"TAG" + bytes(125))
    yield "ogg tag", bytes(ogg + b"TAG" + bytes(125))
    yield "ogg ape", bytes(ogg + b"APETAGEX" + bytes(90))
    for name, options in FORMATS.items():
        yield name, bytes(encoded(noise, **options))


def test_whole_files_are_read_whatever_is_announced(tmp_path, noise):
    for name, data in whole_files(noise):
        (tmp_path / "a").write_bytes(data)
        sound = load_audio(tmp_path / "a")
        # Some formats hold whole blocks.
        assert len(noise) <= len(sound.waveform) < len(noise) + 700, name
        assert not sound.note, name


def frames_of(data):
    """The frames of an MP3 that begins with one."""
    number = 0
    while frame := mp3._frame(data, 0):
        number, data = number + 1, data[frame.size :]
    return number


@pytest.mark.parametrize("rate, channels", [(44100, 1), (48000, 2), (16000, 1)])
@pytest.mark.parametrize("mode", ["CONSTANT", "VARIABLE"])
def test_an_mp3_that_does_not_count_its_frames(tmp_path, rate, channels, mode):
    """Streams and old encoders: the length is guessed from the first frame."""
    rng = np.random.default_rng(0)
    sound = 1e-3 * rng.standard_normal((4 * rate, channels))
    sound[2 * rate :] *= 100
    path = tmp_path / "a.mp3"
    options = {"format": "MP3", "bitrate_mode": mode, "compression_level": 0.5}
    with sf.SoundFile(path, "w", rate, channels, **options) as file:
        file.write(sound)
    counted = path.read_bytes()
    known = read_audio(path, rate)
    assert mp3.mended_mp3(counted, 0) is None  # it tells its length itself
    first = counted.find(b"\xff", 4)
    while frames_of(counted[first : first + 3000]) < 2:
        first = counted.find(b"\xff", first + 1)
    for front in (b"", b"ID3\x04\x00\x00\x00\x00\x01\x00" + bytes(128)):
        path.write_bytes(front + counted[first:] + b"TAG" + bytes(125))
        read = load_audio(path, rate)
        # But for the delay that encoder and decoder add at both ends.
        assert abs(len(read.waveform) - len(known)) < 4 * 1152
        assert not read.note
        tail, kept = (float(x[-rate:].std()) for x in (read.waveform, known))
        assert tail == pytest.approx(kept, rel=0.1)


@pytest.mark.parametrize("name", [n for n in FORMATS if n != "aiff"])
def test_what_is_missing_for_certain_is_noted(tmp_path, noise, name):
    data = encoded(noise, **FORMATS[name])
    (tmp_path / "a").write_bytes(data[: len(data) // 2])
    sound = load_audio(tmp_path / "a")
    assert 0.2 < len(sound.waveform) / len(noise) < 0.6
    assert sound.note.startswith("truncated")


def test_unusable_files(tmp_path):
    written = {
        "zero.wav": (b"", "0 bytes"),
        "text.wav": (b"not audio\n" * 100, "expected an audio file"),
        # libsndfile takes any bytes for mu-law if the file is named so.
        "text.au": (b"not audio at all" * 100, "no header"),
        "empty.wav": (encoded(np.zeros(0)), "0 samples"),
        "head.flac": (encoded(np.zeros(99), format="FLAC")[:60], "flac"),
    }
    for rate in (1, 999, 4_000_001, 2**31 - 1):
        data = sized(encoded(np.zeros(100)), b"fmt ", 8, "<I", rate)
        written[f"{rate}.wav"] = data, f"{rate} Hz"
    for value in (np.nan, np.inf, 3e38):  # the last: the sum overflows
        samples = np.zeros((100, 2), "float32")
        samples[50] = value
        data = encoded(samples, subtype="FLOAT")
        written[f"{value}.wav"] = data, "holds values"
    for name, (data, _) in written.items():
        (tmp_path / name).write_bytes(data)
    (tmp_path / "folder.wav").mkdir()
    cases = {name: reason for name, (_, reason) in written.items()}
    cases |= {"absent.wav": "does not exist", "folder.wav": "a folder"}
    for name, reason in cases.items():
        with pytest.raises(UserError, match=reason) as caught:
            read_audio(tmp_path / name)
        assert str(caught.value).startswith(str(tmp_path / name))
        copy = pickle.loads(pickle.dumps(caught.value))
        assert str(copy) == str(caught.value) and copy.path == caught.value.path
    for name in ("x" * 5000, "a\0b"):
        with pytest.raises(AudioError, match="cannot be reached"):
            AudioCache(tmp_path / "cache")(tmp_path / name)


def test_the_header_alone(tmp_path):
    sf.write(tmp_path / "a.flac", np.zeros((8820, 2)), 44100)
    assert audio_info(tmp_path / "a.flac") == (44100, 8820, 2, 0.2)


# --- sounds of which nothing is left ---

DITHER = np.random.default_rng(0).choice([-1, 0, 1], 9600) / 32768
HIGH = tone(30000, 192000) + 0.1
FOUR = [1, -1, 2, -2]
LOST = {
    "digital silence": (np.zeros(800), RATE, "silent"),
    "dither": (DITHER, RATE, "silent"),
    "an offset": (np.full(800, 0.3), RATE, "silent"),
    "out of phase": (np.outer(tone(500, RATE), [1, -1]), RATE, "cancel"),
    "nearly so": (np.outer(tone(500, RATE), [1, -0.99]), RATE, "cancel"),
    "four channels": (np.outer(tone(500, RATE), FOUR), RATE, "cancel"),
    "a bat": (HIGH, 192000, "8000 Hz"),
    "a bat in stereo": (np.stack([HIGH, HIGH], 1), 192000, "8000 Hz"),
    "a tone": (tone(500, RATE), RATE, ""),
    "a quiet tone": (tone(500, RATE) / 1000, RATE, ""),
    "one channel": (np.outer(tone(500, RATE), [1, 0]), RATE, ""),
    "a high tone": (tone(7000, 44100), 44100, ""),
}


@pytest.mark.parametrize("name", LOST)
def test_sounds_of_which_nothing_is_left_are_noted(tmp_path, name):
    samples, rate, why = LOST[name]
    sf.write(tmp_path / "a.wav", samples, rate, subtype="PCM_24")
    note = load_audio(tmp_path / "a.wav").note
    assert why in note if why else not note
    channels = torch.from_numpy(np.atleast_2d(samples.T))
    assert mono_sound(channels, rate).note == note or "dB" in note


# --- the cache ---


@pytest.fixture
def cache(tmp_path):
    return AudioCache(tmp_path / "cache")


@pytest.fixture
def decoded(monkeypatch):
    """Files that are decoded, in order."""
    from speechbrain_lmac.data import audio

    paths, load = [], audio.load_audio

    def noted(path, *args):
        paths.append(path)
        return load(path, *args)

    monkeypatch.setattr(audio, "load_audio", noted)
    return paths


def entries(cache):
    return sorted(cache.folder.iterdir())


def test_cache_decodes_once(tmp_path, noise, cache, decoded, monkeypatch):
    path = tmp_path / "a.wav"
    sf.write(path, np.stack([noise, -noise], 1), 44100)
    first = cache.load(path)
    assert "cancel" in first.note
    monkeypatch.chdir(tmp_path)  # the same file under another spelling
    copy = pickle.loads(pickle.dumps(cache))
    for again in (cache.load("a.wav"), copy.load(path)):
        assert torch.equal(again.waveform, first.waveform)
        assert again.note == first.note
    assert decoded == [path] and len(entries(cache)) == 1


def test_cache_follows_the_file_and_the_rate(tmp_path, noise, cache):
    path = tmp_path / "a.wav"
    sf.write(path, noise, RATE)
    before = cache(path)
    stat = path.stat()
    sf.write(path, noise[::-1], RATE)  # same size, another time
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns + 1))
    assert torch.equal(cache(path), before.flip(0))
    slow = AudioCache(tmp_path / "cache", sample_rate=8000)(path)
    assert len(slow) == 22050
    assert len(entries(cache)) == 3


@pytest.mark.parametrize("damage", ["cut", "flipped", "empty", "zeros"])
def test_a_damaged_entry_is_made_anew(tmp_path, noise, cache, damage):
    path = tmp_path / "a.wav"
    sf.write(path, noise, RATE)
    expected = cache(path)
    (entry,) = entries(cache)
    whole = entry.read_bytes()
    flipped = bytearray(whole)
    flipped[5000] ^= 1
    damaged = {"cut": whole[:-9], "flipped": flipped}
    damaged |= {"empty": b"", "zeros": bytes(len(whole))}
    entry.write_bytes(damaged[damage])
    assert torch.equal(cache(path), expected)
    assert torch.equal(cache(path), expected)
    assert len(entry.read_bytes()) == len(whole)


def test_a_file_in_place_of_the_folder(tmp_path):
    (tmp_path / "file").write_text("")
    for folder in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(UserError, match="cache_folder.*file"):
            AudioCache(folder)


@pytest.mark.parametrize("broken", ["mkdir", "os.replace"])
def test_a_cache_that_cannot_be_written_costs_a_warning(
    tmp_path, noise, monkeypatch, caplog, broken
):
    def refuse(*args, **kwargs):
        raise OSError(28, "No space left on device")

    for name in "ab":
        sf.write(tmp_path / f"{name}.wav", noise, 44100)
    monkeypatch.setattr(
        "pathlib.Path.mkdir" if broken == "mkdir" else broken, refuse
    )
    cache = AudioCache(tmp_path / "cache")
    for name in "abab":
        expected = read_audio(tmp_path / f"{name}.wav")
        assert torch.equal(cache(tmp_path / f"{name}.wav"), expected)
    assert caplog.text.count("cannot be written") == 1
    assert not list((tmp_path).glob("cache/*"))


def test_a_read_only_cache_is_read(
    tmp_path, noise, cache, monkeypatch, decoded
):
    sf.write(tmp_path / "a.wav", noise, 44100)
    expected = cache(tmp_path / "a.wav")

    def refuse(*args, **kwargs):
        raise PermissionError(30, "Read-only file system")

    monkeypatch.setattr("os.utime", refuse)
    assert torch.equal(cache(tmp_path / "a.wav"), expected)
    assert len(decoded) == 1


def test_cache_stays_within_its_size(tmp_path):
    entry = 4 * RATE + 600  # samples, names, checksums
    cache = AudioCache(tmp_path / "cache", size_gb=10.5 * entry / 1e9)
    foreign = tmp_path / "cache" / "mine.npz"
    foreign.write_bytes(bytes(10 * entry))
    first = tmp_path / "0.wav"
    for number in range(30):
        path = tmp_path / f"{number}.wav"
        sf.write(path, np.random.default_rng(number).uniform(-1, 1, RATE), RATE)
        cache(path)
        os.utime(cache._entry(path), (number, number))
        os.utime(cache._entry(first), (1000, 1000))  # it is used all the time
        kept = [p for p in entries(cache) if p != foreign]
        assert sum(p.stat().st_size for p in kept) <= cache.max_bytes
    assert len(kept) >= 9 and cache._entry(first) in kept and foreign.exists()
    assert cache._entry(path) in kept
    sf.write(path, np.zeros(12 * RATE), RATE)  # larger than the cache
    assert len(cache(path)) == 12 * RATE
    assert [p for p in entries(cache) if p != foreign] == kept


def test_using_an_entry_keeps_it(tmp_path, noise, cache):
    sf.write(tmp_path / "a.wav", noise, RATE)
    cache(tmp_path / "a.wav")
    (entry,) = entries(cache)
    os.utime(entry, (1, 1))
    cache(tmp_path / "a.wav")
    assert entry.stat().st_mtime > 1e9


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
        sf.write(paths[-1], samples, RATE)
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
    assert {p.suffix for p in (tmp_path / "cache").iterdir()} == {".npz"}


# --- what is written ---


@pytest.mark.parametrize("peak, gain", [(1.0, 1.0), (4.0, 0.25)])
def test_write_wav_scales_instead_of_clipping(tmp_path, peak, gain):
    waveform = torch.linspace(-peak, peak, 1001)
    assert write_wav(tmp_path / "a.wav", waveform, 22050) == gain
    info = sf.info(tmp_path / "a.wav")
    found = (info.samplerate, info.channels, info.subtype)
    assert found == (22050, 1, "PCM_16")
    back = read_audio(tmp_path / "a.wav", 22050, normalize=False)
    # Half a step of 16 bits, and a whole one at full scale.
    torch.testing.assert_close(back, waveform * gain, atol=1 / 32768, rtol=0)
    assert [p.name for p in tmp_path.iterdir()] == ["a.wav"]


@pytest.mark.parametrize(
    "waveform",
    [torch.zeros(1, 9), torch.zeros(0), torch.tensor([0.0, float("nan")])],
)
def test_write_wav_refuses(tmp_path, waveform):
    with pytest.raises(ValueError, match="Expected a .*waveform"):
        write_wav(tmp_path / "a.wav", waveform, RATE)
    assert not list(tmp_path.iterdir())
