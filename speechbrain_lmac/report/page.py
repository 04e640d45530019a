"""One HTML page with the metrics and the explanations to listen to.

The page is a single file: sounds and pictures are inside it, it opens from
disk and asks for nothing from the network.
"""

import base64
import io
import math
from html import escape
from pathlib import Path
from typing import NamedTuple

import numpy as np
import soundfile as sf
import torch

from speechbrain_lmac.report import (
    BOLD_LEGEND,
    TABLES,
    best_rows,
    cell,
    group_facts,
    group_rows,
    group_title,
    present_metrics,
)
from speechbrain_lmac.report.tables import note_list, write_text

# libsndfile's Vorbis encoder works on the stack: long clips go in blocks.
ENCODER_BLOCK = 65536  # samples


class Example(NamedTuple):
    """One explained clip.

    Arguments
    ---------
    clip_id : str
        The clip.
    condition : str
        For example "clean" or "white noise".
    true_label : str
        The class that the data set states.
    label : str
        The classifier's decision, which is the explained class.
    probability : float
        Probability of ``label`` on the input, 0 to 1.
    probability_masked_in : float
        Probability of ``label`` on the explanation alone.
    probability_masked_out : float
        Probability of ``label`` on what the explanation leaves.
    original : torch.Tensor
        The input, shape (samples,).
    explanation : torch.Tensor
        What the mask keeps, shape (samples,).
    masked_out : torch.Tensor
        What the mask removes, shape (samples,).
    figure_png : str or pathlib.Path or bytes
        The picture of :mod:`speechbrain_lmac.report.figures`.
    sample_rate : int
        In Hz.
    """

    clip_id: str
    condition: str
    true_label: str
    label: str
    probability: float
    probability_masked_in: float
    probability_masked_out: float
    original: torch.Tensor
    explanation: torch.Tensor
    masked_out: torch.Tensor
    figure_png: str | Path | bytes
    sample_rate: int


def write_page(path, rows, examples, title="Listenable explanations", notes=()):
    """Write the page of results.

    Arguments
    ---------
    path : str or pathlib.Path
        The HTML file, written whole or not at all; missing folders are made.
    rows : list of dict
        Rows of :func:`speechbrain_lmac.report.tables.row_from_summaries`;
        empty for a page of examples alone.
    examples : list of Example
        The clips to listen to, in this order.
    title : str
        The heading.
    notes : str or list of str
        Facts that belong to the results, shown below the heading.

    Returns
    -------
    path : pathlib.Path

    Raises
    ------
    ValueError
        If a sound is not (samples,), is empty or is not finite.

    Example
    -------
    >>> path = getfixture("tmpdir") / "page.html"
    >>> wave = torch.zeros(1600)
    >>> clip = Example("clip 7", "clean", "dog", "dog", 0.9, 0.95, 0.1,
    ...     wave, wave, wave, b"", 16000)
    >>> write_page(path, [], [clip]).read_text(encoding="utf-8").count("<audio")
    3
    """
    head = escape(title)
    body = [f"<header><h1>{head}</h1>", _notes_html(notes)]
    if rows and examples:
        body += ['<nav><a href="#examples">Listen to the examples</a></nav>']
    body += ["</header><main>"]
    if rows:
        body += ['<section id="metrics"><h2>Metrics</h2>']
        body += [_group_html(group) for group in group_rows(rows)]
        body += [_legend_html(rows), "</section>"]
    if examples:
        body += ['<section id="examples"><h2>Examples</h2>', INTRODUCTION]
        body += [_example_html(example) for example in examples]
        body += ["</section>"]
    body += ["</main>"]
    page = (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f'<meta name="color-scheme" content="light dark"><title>{head}</title>'
        f"\n<style>{STYLE}</style></head>\n<body>"
        + "\n".join(body)
        + "</body></html>\n"
    )
    write_text(path, page)
    return Path(path)


def encode_audio(waveform, sample_rate, gain=1.0):
    """Encode a sound for a page: Ogg Vorbis, else 16-bit WAV.

    Arguments
    ---------
    waveform : torch.Tensor
        Shape (samples,).
    sample_rate : int
        In Hz.
    gain : float
        Factor applied first, so that several sounds keep their proportions.

    Returns
    -------
    uri : str
        A ``data:`` address.

    Raises
    ------
    ValueError
        If the sound is not (samples,), is empty or is not finite.

    Example
    -------
    >>> encode_audio(torch.zeros(1600), 16000)[:21]
    'data:audio/ogg;base64'
    """
    wave = torch.as_tensor(waveform).detach().cpu().float()
    if wave.ndim != 1 or wave.numel() == 0 or not wave.isfinite().all():
        raise ValueError(
            "Expected a finite sound of shape (samples,) but got shape "
            f"{tuple(wave.shape)}."
        )
    samples = (wave * gain).numpy()
    try:
        return _data_uri("audio/ogg", _ogg_bytes(samples, sample_rate))
    except (sf.LibsndfileError, ValueError):
        # A libsndfile built without Vorbis, or a rate that Vorbis lacks.
        buffer = io.BytesIO()
        sf.write(buffer, samples, sample_rate, "PCM_16", format="WAV")
        return _data_uri("audio/wav", buffer.getvalue())


def _ogg_bytes(samples, sample_rate):
    buffer = io.BytesIO()
    with sf.SoundFile(
        buffer, "w", sample_rate, 1, subtype="VORBIS", format="OGG"
    ) as file:
        for start in range(0, len(samples), ENCODER_BLOCK):
            file.write(samples[start : start + ENCODER_BLOCK])
    return buffer.getvalue()


def _data_uri(kind, data):
    return f"data:{kind};base64,{base64.b64encode(data).decode('ascii')}"


def _notes_html(notes):
    items = "".join(f"<li>{escape(str(n))}</li>" for n in note_list(notes))
    return f"<ul>{items}</ul>" if items else ""


def _group_html(group):
    parts = [f"<h3>{escape(group_title(group))}</h3>"]
    parts += [f'<p class="quiet">{escape(group_facts(group))}</p>']
    for caption, metrics in TABLES:
        columns = present_metrics(group, metrics)
        if columns:
            parts += [_table_html(group, columns, caption)]
    return "\n".join(parts)


def _table_html(group, columns, caption):
    head = "".join(
        f'<th scope="col" title="{escape(m.meaning)}">{escape(m.title)}</th>'
        for m in columns
    )
    best = [best_rows(group, metric) for metric in columns]
    lines = []
    for position, row in enumerate(group):
        method = escape(str(row.get("method", "")))
        cells = "".join(
            _cell_html(row, metric, position in winners)
            for metric, winners in zip(columns, best, strict=True)
        )
        lines += [f'<tr><th scope="row">{method}</th>{cells}</tr>']
    return (
        # A scrolling box needs the keyboard's focus to be scrolled by it.
        f'<div class="scroll" tabindex="0"><table><caption>{escape(caption)}'
        f'</caption><thead><tr><th scope="col">method</th>{head}</tr></thead>'
        f"<tbody>{''.join(lines)}</tbody></table></div>"
    )


def _cell_html(row, metric, is_best):
    mean, interval, undefined = cell(row, metric)
    mean = f"<strong>{mean}</strong>" if is_best else mean
    small = "<br>".join(filter(None, (interval, undefined)))
    return f"<td>{mean}{f'<small>{small}</small>' if small else ''}</td>"


def _legend_html(rows):
    items = "".join(
        f"<dt>{escape(m.title)}</dt><dd>{escape(m.meaning)}</dd>"
        for m in present_metrics(rows)
    )
    return (
        f"<details><summary>What the columns mean</summary><p>{BOLD_LEGEND}</p>"
        f"<dl>{items}</dl></details>"
    )


def _example_html(example):
    right = example.label == example.true_label
    verdict = "right" if right else "wrong"
    truth = "" if right else f", in truth <b>{escape(example.true_label)}</b>"
    label, clip = escape(example.label), escape(example.clip_id)
    sounds = (
        ("input", example.original, example.probability),
        ("explanation", example.explanation, example.probability_masked_in),
        ("masked-out", example.masked_out, example.probability_masked_out),
    )
    # One gain for the three: their loudness is part of what is compared.
    peak = max(float(torch.as_tensor(s[1]).abs().max()) for s in sounds)
    gain = 1 / peak if peak > 1 else 1.0
    players = "".join(
        f"<figure><figcaption><b>{name}</b> {_probability_html(p, label)}"
        f'</figcaption><audio controls preload="metadata" aria-label="{name}, '
        f'{clip}" src="{encode_audio(wave, example.sample_rate, gain)}">'
        "</audio></figure>"
        for name, wave, p in sounds
    )
    png = example.figure_png
    png = png if isinstance(png, bytes) else Path(png).read_bytes()
    return (
        f"<article><h3>{clip} <small>{escape(example.condition)}</small></h3>"
        f'<p><span class="{verdict}">{verdict}</span> The classifier says '
        f"<b>{label}</b>{truth}.</p>"
        f'<div class="sounds">{players}</div>'
        f'<img alt="Spectrogram of the input, mask and explanation of {clip}" '
        f'src="{_data_uri("image/png", png)}"></article>'
    )


def _probability_html(value, label):
    value = float(value)
    if math.isnan(value):
        return '<span class="quiet">probability undefined</span>'
    percent = 100 * float(np.clip(value, 0, 1))
    return (
        f"p({label}) = {value:.2f}"
        f'<span class="bar"><i style="width:{percent:.0f}%"></i></span>'
    )


INTRODUCTION = (
    "<p>Each clip has three sounds: the input, the explanation (what the mask "
    "keeps) and the masked-out rest. Beside each stands the probability that "
    "the classifier gives there to its own decision on the input. A good "
    "explanation keeps it high, and the rest makes it fall.</p>"
    '<p class="quiet">The sounds are Ogg Vorbis, which Safari plays from '
    "version 18.4 on.</p>"
)

# Even if a text slipped through unescaped, it could load and run nothing.
POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; img-src data:; "
    "media-src data:"
)

STYLE = """
:root{--ink:#1f2430;--quiet:#5f6675;--page:#f6f7f9;--card:#fff;--line:#dfe2e8;
--accent:#2f6f8f;--right:#1d7a4c;--wrong:#b3402e}
@media(prefers-color-scheme:dark){:root{--ink:#e6e8ec;--quiet:#a2a9b6;
--page:#14161b;--card:#1d2027;--line:#343944;--accent:#6db3d3;--right:#5cc48f;
--wrong:#f08a76}}
*{box-sizing:border-box}
body{margin:0 auto;max-width:70rem;padding:1rem;background:var(--page);
color:var(--ink);font:16px/1.5 system-ui,sans-serif}
h1{line-height:1.2;margin:.5rem 0}h2{margin:2rem 0 .5rem}
h3{margin:1.2rem 0 .2rem;overflow-wrap:anywhere}
p{margin:.3rem 0}a{color:var(--accent)}
.quiet,small{color:var(--quiet);font-weight:normal}
.scroll{overflow-x:auto;margin:.6rem 0;background:var(--card);
border:1px solid var(--line);border-radius:.5rem}
table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums}
caption{text-align:left;padding:.5rem .7rem;color:var(--quiet)}
th,td{padding:.3rem .7rem;text-align:right;white-space:nowrap;
border-top:1px solid var(--line);vertical-align:top}
th:first-child{text-align:left;position:sticky;left:0;background:var(--card)}
td small{display:block;font-size:.75rem}
td strong{color:var(--accent)}
dl{display:grid;grid-template-columns:max-content 1fr;gap:.1rem .8rem}
dd{margin:0}dt{font-weight:600}summary{cursor:pointer}
article{background:var(--card);border:1px solid var(--line);
border-radius:.5rem;padding:.2rem 1rem 1rem;margin:1rem 0}
article img{display:block;width:100%;max-width:45rem;height:auto;
background:#fff;border-radius:.4rem}
.sounds{display:grid;gap:.6rem 1rem;margin:.8rem 0;
grid-template-columns:repeat(auto-fit,minmax(15rem,1fr))}
figure{margin:0}audio{width:100%;margin-top:.3rem}
.bar{display:block;height:.35rem;background:var(--line);border-radius:1rem}
.bar i{display:block;height:100%;background:var(--accent);border-radius:1rem}
.right,.wrong{font-size:.8rem;font-weight:600;border:1px solid;
border-radius:1rem;padding:.05rem .6rem;margin-right:.4rem}
.right{color:var(--right)}.wrong{color:var(--wrong)}
"""
