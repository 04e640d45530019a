"""The metrics of a page: HTML tables with intervals and marks."""

from html import escape

from speechbrain_lmac.metrics.table import TABLES
from speechbrain_lmac.report.columns import (
    BOLD_LEGEND,
    PROTOCOL_LABELS,
    best_rows,
    cell,
    group_facts,
    group_rows,
    group_title,
    method_label,
    present_metrics,
)
from speechbrain_lmac.report.significance import (
    MARK_TEST,
    MARKS,
    mark_of,
    significance_marks,
)


def metrics_html(rows, comparisons=()):
    """Tables of all conditions: open as published, folded otherwise.

    Arguments
    ---------
    rows : list of dict
        Rows of :func:`speechbrain_lmac.report.tables.row_from_summaries`.
    comparisons : list of dict
        Of :func:`speechbrain_lmac.metrics.comparison.compare_with_lmac`.

    Returns
    -------
    html : str
        All that comes from the rows is escaped.
    """
    marks = significance_marks(comparisons)
    parts, folded = [], {}
    for group in group_rows(rows):
        protocol = group[0].get("protocol") or "published"
        place = parts
        if protocol != "published":
            place = folded.setdefault(protocol, [])
        place.append(_group_html(group, marks))
    for protocol, tables in folded.items():
        label = escape(PROTOCOL_LABELS.get(protocol, protocol))
        parts += [
            f"<details><summary>With {label}</summary>{''.join(tables)}"
            "</details>"
        ]
    return "\n".join([*parts, _legend_html(rows, comparisons)])


def _group_html(group, marks):
    title = escape(group_title(group))
    parts = [f"<h3>{title}</h3>"]
    parts += [f'<p class="quiet">{escape(group_facts(group))}</p>']
    for caption, metrics in TABLES:
        columns = present_metrics(group, metrics)
        if columns:
            parts += [_table_html(group, columns, caption, title, marks)]
    return "\n".join(parts)


def _table_html(group, columns, caption, title, marks):
    head = "".join(
        f'<th scope="col" title="{escape(m.meaning)}">{escape(m.title)}</th>'
        for m in columns
    )
    best = [best_rows(group, metric) for metric in columns]
    lines = []
    for position, row in enumerate(group):
        method = escape(method_label(row.get("method", "")))
        cells = "".join(
            _cell_html(row, metric, position in winners, marks)
            for metric, winners in zip(columns, best, strict=True)
        )
        lines += [f'<tr><th scope="row">{method}</th>{cells}</tr>']
    return (
        # A scrolling box needs the keyboard's focus to be scrolled by it.
        f'<div class="scroll" tabindex="0" role="region" aria-label="'
        f'{escape(caption)}: {title}"><table><caption><span>{escape(caption)}'
        f'</span></caption><thead><tr><th scope="col">method</th>{head}</tr>'
        f"</thead><tbody>{''.join(lines)}</tbody></table></div>"
    )


def _column(metric):
    """What the column is called in results.csv, where that is another name."""
    if metric.name == metric.label:
        return ""
    return f' <span class="quiet">({escape(metric.name)} in results.csv)</span>'


def _cell_html(row, metric, is_best, marks):
    mean, interval, undefined = cell(row, metric)
    mark = escape(mark_of(row, metric, marks)) if mean else ""
    mean = f"<strong>{mean}</strong>" if is_best else mean
    small = "<br>".join(filter(None, (interval, undefined)))
    small = f"<small>{small}</small>" if small else ""
    return f"<td>{mean}{mark}{small}</td>"


def _legend_html(rows, comparisons):
    items = "".join(
        f"<dt>{escape(m.title)}</dt><dd>{escape(m.meaning)}{_column(m)}</dd>"
        for m in present_metrics(rows)
    )
    if comparisons:
        items += "".join(
            f"<dt>{escape(mark)}</dt><dd>{escape(meaning)}</dd>"
            for mark, meaning in MARKS.items()
        )
        items += f"<dt>test</dt><dd>{escape(MARK_TEST)}</dd>"
    return (
        f"<details><summary>What the columns mean</summary><p>{BOLD_LEGEND}</p>"
        f"<dl>{items}</dl></details>"
    )
