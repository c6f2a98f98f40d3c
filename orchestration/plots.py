"""Small pictures for asset metadata: a series over time, where a person would look for it."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from datetime import date

import dagster as dg


def line_plot(title: str, series: Mapping[str, Sequence[tuple[date, float | None]]]) -> dg.MarkdownMetadataValue:
    """A small line chart, one line a series, as an image that the Dagster UI shows in place."""
    import numpy as np
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.2, 2.0), dpi=110, layout="constrained")
    axes = figure.add_subplot()
    for name, points in series.items():
        known = [(day, value) for day, value in points if value is not None]
        axes.plot(
            np.array([day for day, _ in known]),
            np.array([value for _, value in known]),
            marker=".",
            linewidth=1.2,
            label=name,
        )
    axes.set_title(title, fontsize=9, loc="left")
    axes.tick_params(labelsize=7)
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    for label in axes.get_xticklabels():
        label.set_rotation(20)
    if len(series) > 1:
        axes.legend(fontsize=7, frameon=False, ncols=4)
    buffer = io.BytesIO()
    FigureCanvasAgg(figure).print_png(buffer)
    return dg.MetadataValue.md(f"![{title}](data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()})")


def table(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> dg.MarkdownMetadataValue:
    """A few rows as a Markdown table. Only for zones without personal data."""
    lines = ["| " + " | ".join(columns) + " |", "|" + "---|" * len(columns)]
    lines += [
        "| " + " | ".join("" if cell is None else str(cell).replace("|", "\\|") for cell in row) + " |" for row in rows
    ]
    return dg.MetadataValue.md("\n".join(lines))
