"""MP3 files that do not count their frames: streams, and old encoders.

libsndfile guesses their length from the first frame, and reads no further: of
a file of varying bit rate most may be lost. A header that counts the frames
(as that of Xing) in front of the file mends it.
"""

from __future__ import annotations

from typing import NamedTuple

# kbit/s of layer III by index; Hz by index for MPEG 1, 2 and 2.5.
BITRATES = {
    1: (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    2: (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
RATES = {1: (44100, 48000, 32000), 2: (22050, 24000, 16000)}
HEADER, COUNTERS = 4, (b"Xing", b"Info", b"VBRI")
MIDDLE_BITRATE = 9  # its frames have room for the count at every rate


class _Frame(NamedTuple):
    size: int  # bytes
    version: int  # MPEG 1, or 2 and 2.5
    mono: bool


def mended_mp3(data: bytes, num_samples: int) -> bytes | None:
    """An MP3 that is read to its end; None if it counts its frames itself.

    ``num_samples`` is what libsndfile would read. A header is put in front
    only if that is too little: with one, the decoder leaves out its delay.
    """
    start = _after_id3(data)
    while (first := _frame(data, start)) is None:
        start = data.find(b"\xff", start + 1)
        if start < 0:
            return None
    if any(word in data[start : start + 256] for word in COUNTERS):
        return None
    count, at = 0, start
    while at >= 0:
        frame = _frame(data, at)
        if frame is None:  # a tag between frames, or behind them
            at = data.find(b"\xff", at + 1)
        else:
            count, at = count + 1, at + frame.size
    if count * (1152 if first.version == 1 else 576) <= num_samples:
        return data
    header = bytearray(data[start : start + HEADER])
    header[1] |= 1  # no checksum
    header[2] = MIDDLE_BITRATE << 4 | header[2] & 0x0C
    side = {(1, False): 32, (1, True): 17, (2, False): 17, (2, True): 9}
    xing = b"Xing" + (1).to_bytes(4, "big") + count.to_bytes(4, "big")
    front = bytes(header) + bytes(side[first[1:]]) + xing
    return front.ljust(_frame(front, 0).size, b"\0") + data[start:]


def _after_id3(data):
    """Where the first ID3v2 tag ends; its size is four times seven bits."""
    if data[:3] != b"ID3":
        return 0
    size = 0
    for byte in data[6:10]:
        size = size << 7 | byte
    return 10 + size


def _frame(data, at):
    """The frame of layer III whose header is there; None if there is none."""
    head = data[at : at + HEADER]
    if len(head) < HEADER or head[0] != 0xFF or head[1] & 0xE6 != 0xE2:
        return None
    kind, bits, rate = head[1] >> 3 & 3, head[2] >> 4, head[2] >> 2 & 3
    if kind == 1 or bits in (0, 15) or rate == 3:
        return None
    version = 1 if kind == 3 else 2
    hertz = RATES[version][rate] // (2 if kind == 0 else 1)
    size = (144 if version == 1 else 72) * BITRATES[version][bits] * 1000
    padding = head[2] >> 1 & 1
    return _Frame(size // hertz + padding, version, head[3] >> 6 == 3)
