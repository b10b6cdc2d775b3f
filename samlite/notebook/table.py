"""A small table that reads well everywhere: as HTML in a notebook and in the book, as aligned text in a terminal."""

from __future__ import annotations

import html
from collections.abc import Sequence


class Table:
    """Cells of text under named columns.

    ``right`` names the columns of numbers, which are set flush right; ``caption`` stands below; ``notes`` (one a row)
    show when the mouse rests on a row. The first cell of a row is its heading. Raises ValueError when a row has
    more or fewer cells than there are columns.
    """

    def __init__(
        self,
        columns: Sequence[str],
        rows: Sequence[Sequence[object]],
        right: Sequence[str] = (),
        caption: str = "",
        notes: Sequence[str] = (),
    ) -> None:
        self.columns, self.right, self.caption = list(columns), set(right), caption
        self.rows = [[str(cell) for cell in row] for row in rows]
        self.notes = list(notes) or [""] * len(self.rows)
        for row in self.rows:
            if len(row) != len(self.columns):
                raise ValueError(f"a row has {len(row)} cells, the table has {len(self.columns)} columns: {row}")

    def __str__(self) -> str:
        lines = [self.columns, *self.rows]
        widths = [max(len(line[i]) for line in lines) for i in range(len(self.columns))]
        aligned = [
            "  ".join(
                cell.rjust(width) if column in self.right else cell.ljust(width)
                for cell, width, column in zip(line, widths, self.columns, strict=True)
            ).rstrip()
            for line in lines
        ]
        return "\n".join([*aligned, self.caption] if self.caption else aligned)

    __repr__ = __str__

    def _repr_html_(self) -> str:
        styles = [
            f"text-align:{'right' if column in self.right else 'left'};padding:2px 12px 2px 0;white-space:nowrap"
            for column in self.columns
        ]
        head = "".join(
            f'<th scope="col" style="{style}">{html.escape(column)}</th>'
            for column, style in zip(self.columns, styles, strict=True)
        )
        body = []
        for row, note in zip(self.rows, self.notes, strict=True):
            first, *others = map(html.escape, row)
            cells = [f'<td style="{style}">{cell}</td>' for cell, style in zip(others, styles[1:], strict=True)]
            title = f' title="{html.escape(note, quote=True)}"' if note else ""
            body.append(f'<tr{title}><th scope="row" style="{styles[0]}">{first}</th>{"".join(cells)}</tr>')
        caption = f'<caption style="caption-side:bottom;text-align:left">{html.escape(self.caption)}</caption>'
        return (
            '<div style="overflow-x:auto"><table style="border-collapse:collapse;font-size:90%">'
            f"{caption if self.caption else ''}<thead><tr>{head}</tr></thead>"
            f"<tbody>{''.join(body)}</tbody></table></div>"
        )
