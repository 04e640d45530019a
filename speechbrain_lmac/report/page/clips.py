"""The clips of a page: players, pictures and decisions as HTML."""

import math
from html import escape

import numpy as np

from speechbrain_lmac.report.columns import condition_label, method_label
from speechbrain_lmac.report.page.media import (
    encode_audio,
    picture_uri,
    read_sound,
    spectrogram_uris,
)

#: Sounds of a method: file, name, suffix of its facts, how its picture is
#: made of spectrogram and mask.
PARTS = (
    ("explanation", "explanation", "_masked_in", "kept"),
    ("masked_out", "masked-out rest", "_masked_out", "rest"),
)
TARGET = "target"
KEYS = {
    "p": "probability",
    "in": "probability_masked_in",
    "out": "probability_masked_out",
}


def clip_html(clip, number):
    """A clip: its input, and each method's explanation and rest.

    Arguments
    ---------
    clip : Clip
        Of :mod:`speechbrain_lmac.report.page.data`.
    number : int
        Its place on the page.

    Returns
    -------
    html : str
        An ``<article>``; all that comes from the clip is escaped.
    """
    waves = _read_sounds(clip)
    kind = clip.true_label or clip.label
    style = _style("--s", picture_uri(clip.folder / "spectrogram.png"))
    drawn = {} if style else _draw_sounds(waves)
    methods = "".join(
        _method_html(e, clip, waves, drawn) for e in clip.explained
    )
    return (
        f'<article class="clip" data-condition="{escape(clip.condition)}" '
        f'data-class="{escape(kind)}" data-decision="{clip.decision}" '
        f'data-number="{number}" {style}><h3>{escape(clip.clip_id)}</h3>'
        f"<p>{_verdict_html(clip)}</p>{_input_html(clip, waves, drawn)}"
        f"{methods}</article>"
    )


def _read_sounds(clip):
    """All sounds of a clip at the level that they had to one another.

    One gain for all: their loudness is part of what is compared.
    """
    places = [(clip.folder, clip.explained[0], f) for f in ("original", TARGET)]
    places += [(e.folder, e, part[0]) for e in clip.explained for part in PARTS]
    waves = {}
    for folder, explained, name in places:
        path = folder / f"{name}.wav"
        if path.is_file():
            waves[path] = read_sound(path, _gain(explained.facts, name))
    peak = max(float(np.abs(wave).max()) for wave, _ in waves.values())
    gain = np.float32(1 / peak if peak > 1 else 1.0)
    return {path: (gain * wave, rate) for path, (wave, rate) in waves.items()}


def _draw_sounds(waves):
    """Pictures of sounds that were saved without the spectrogram's."""
    shown = {p: wave for p, (wave, _) in waves.items() if p.stem != TARGET}
    return spectrogram_uris(shown)


def _verdict_html(clip):
    facts = clip.explained[0].facts
    decision = _decision(clip)
    label = f"Explained is {_surely(facts)}"
    if decision:
        label = f"The classifier says {_surely(decision)}"
        # Other classes than the decision can be explained, too.
        if len(clip.explained) == 1 and facts is not decision:
            label += f"; explained is {_surely(facts)}"
    if clip.decision:
        label = f'<span class="{clip.decision}">{clip.decision}</span> {label}'
    if clip.decision == "wrong":
        label += f", in truth <b>{escape(clip.true_label)}</b>"
    quiet = escape(condition_label(clip.condition))
    quiet = f' <span class="quiet">{quiet}</span>' if quiet else ""
    return f"{label}.{quiet}{_same_mask_html(clip)}"


def _decision(clip):
    """Label and probability of the classifier's decision; None if unknown."""
    for explained in clip.explained:
        if explained.facts.get("is_decision") is not False:
            return explained.facts
    try:
        best = clip.explained[0].facts["top"][0]
        value = best["probability"]
        value = math.nan if value is None else float(value)
        return {"label": str(best["label"]), "probability": value}
    except (KeyError, IndexError, TypeError, ValueError):
        return None


def _surely(facts):
    value = facts["probability"]
    sure = "" if math.isnan(value) else f" (probability {value:.2f})"
    return f"<b>{escape(str(facts.get('label') or ''))}</b>{sure}"


def _same_mask_html(clip):
    """That other classes have no masks of their own, where it is so."""
    if not any(
        e.facts.get("is_decision") is False
        and e.facts.get("mask_depends_on_class") is False
        for e in clip.explained
    ):
        return ""
    return (
        ' <span class="quiet">The mask does not depend on the class: it is '
        "that of the decision, whatever is explained; only the probabilities "
        "differ.</span>"
    )


def _input_html(clip, waves, drawn):
    """Players of the input, and of the source that it was made from."""
    facts, html = clip.explained[0].facts, ""
    path = clip.folder / "original.wav"
    if path in waves:
        html += _sound_html(
            waves[path],
            f"<b>input</b> {_axes_html(facts, bool(drawn))}",
            f"input, {clip.clip_id}",
            "whole",
            drawn.get(path),
        )
    path = clip.folder / f"{TARGET}.wav"
    if path in waves:
        name = "the clip alone"
        html += _sound_html(
            waves[path],
            f'<b>{name}</b> <span class="quiet">nothing added</span>',
            f"{name}, {clip.clip_id}",
        )
    return f'<div class="parts">{html}</div>'


def _method_html(explained, clip, waves, drawn):
    facts, sounds = explained.facts, ""
    name, heading = _heading(explained, clip)
    for file, title, suffix, picture in PARTS:
        path = explained.folder / f"{file}.wav"
        if path in waves:
            sounds += _sound_html(
                waves[path],
                f"<b>{title}</b> {_probability_html(facts, suffix)}",
                _joined(title, name, clip.clip_id),
                "whole" if drawn else picture,
                drawn.get(path),
            )
    mask = picture_uri(explained.folder / "mask.png")
    if mask:
        mean = facts.get("mask_mean")
        mean = f"mean {mean:.2f}" if isinstance(mean, float) else ""
        view = _picture_html("mask", _joined("mask", name, clip.clip_id))
        sounds += (
            f'<figure><figcaption><b>mask</b> <span class="quiet">{mean}'
            f"</span></figcaption>{view}</figure>"
        )
    values = "".join(
        f' data-{key}="{facts[name]:.6f}"' for key, name in KEYS.items()
    )
    return (
        f'<section class="method" data-method="{escape(explained.method)}"'
        f"{values} {_style('--m', mask)}>{heading}"
        f'<div class="parts">{sounds}</div></section>'
    )


def _heading(explained, clip):
    """What to call an explanation among those of its clip; and as HTML."""
    name, more = method_label(explained.method), ""
    if not name and len(clip.explained) > 1:
        name = str(explained.facts.get("label") or "")
        if explained.facts.get("is_decision") is True:
            more = "the decision"
        value = explained.facts["probability"]
        if not math.isnan(value):
            more = _joined(more, f"probability {value:.2f}")
    more = f' <span class="quiet">{more}</span>' if more else ""
    return name, f"<h4>{escape(name)}{more}</h4>" if name else ""


def _sound_html(sound, caption, label, picture="", own=None):
    wave, rate = sound
    drawn = _picture_html(picture, f"spectrogram, {label}") if picture else ""
    style = f" {_style('--s', own)}" if own else ""
    return (
        f'<figure class="sound"{style}><figcaption>{caption}</figcaption>'
        f"{drawn}"
        f'<audio controls preload="none" data-seconds="{len(wave) / rate:.3f}" '
        f'aria-label="{escape(label)}" src="{encode_audio(wave, rate)}">'
        "</audio></figure>"
    )


def _picture_html(kind, label):
    return (
        f'<div class="view"><div class="picture {kind}" role="img" '
        f'aria-label="{escape(label)}"></div><i class="cursor"></i></div>'
    )


def _probability_html(facts, suffix):
    """What the classifier says after: the decision, and its probability."""
    label, value = str(facts.get("label", "")), facts[f"probability{suffix}"]
    if math.isnan(value):
        return '<span class="quiet">probability undefined</span>'
    now = facts.get(f"label{suffix}")
    says = ""
    if now is not None and now != label:
        # Of the rest that is as it should be.
        kept = suffix == "_masked_in" and facts.get("is_decision") is not False
        kind = ' class="other"' if kept else ""
        says = f", says <b{kind}>{escape(str(now))}</b>"
    percent = 100 * float(np.clip(value, 0, 1))
    return (
        f"<span>p({escape(label)}) = {value:.2f}{says}</span>"
        f'<span class="bar"><i style="width:{percent:.0f}%"></i></span>'
    )


def _axes_html(facts, linear):
    """What the axes of the pictures are, as far as it is known."""
    rate = facts.get("sample_rate")
    if not isinstance(rate, int):
        return ""
    mel = facts.get("mask_domain") == "mel" and not linear
    scale = "mel bands of " if mel else ""
    return f'<span class="quiet">{scale}0 to {rate / 2000:g} kHz</span>'


def _joined(*texts):
    return ", ".join(filter(None, texts))


def _style(name, uri):
    """A picture as a variable: several views share it without a copy."""
    return f'style="{name}:url({uri})"' if uri else ""


def _gain(facts, name):
    """Gain that a sound was written with."""
    gains = facts.get("gains")
    gain = gains.get(name, 1.0) if isinstance(gains, dict) else 1.0
    return gain if isinstance(gain, (int, float)) and gain > 0 else 1.0
