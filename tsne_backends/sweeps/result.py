"""`Sweep`: the maps of a sweep as a table, one row per map.

How they are computed is in ``sweeping`` and ``runs``; how they are drawn is in ``plot.sweeps``.
"""

from __future__ import annotations

import html
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from tsne_backends.errors import did_you_mean

#: What a map is judged by, and whether more of it is better.
MORE_IS_BETTER = {"kl_divergence": False, "preservation": True, "seconds": False}
#: Columns of a table behind the parameters that were varied.
MEASURES = ("kl_divergence", "preservation", "seconds", "n_iter", "backend", "error")


@dataclass(frozen=True, eq=False)
class SweepRow:
    """One map of a sweep, or why there is none.

    Attributes
    ----------
    parameters : mapping of str to object
        The values of the parameters that were varied.
    backend : str
        The engine.
    embedding : ndarray of shape (n_samples, n_components), float32, or None
        The map; None where the fit failed.
    kl_divergence : float
        As the engine reports it, nan where the fit failed.
    preservation : float
        Share of each row's nearest neighbours that are among its nearest on the map; nan where it
        was not measured.
    seconds : float
        What this map took, without what all maps share.
    n_iter : int
        Iterations run.
    error : Exception or None
        Why there is no map.
    """

    parameters: Mapping[str, Any]
    backend: str
    embedding: NDArray[np.float32] | None = None
    kl_divergence: float = float("nan")
    preservation: float = float("nan")
    seconds: float = float("nan")
    n_iter: int = 0
    error: Exception | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return parameters and measures as one dictionary, without the map."""
        error = None if self.error is None else f"{type(self.error).__name__}: {self.error}"
        measures = {name: getattr(self, name) for name in MEASURES[:-1]}
        return {**self.parameters, **measures, "error": error}


@dataclass(frozen=True, eq=False)
class Sweep:
    """The maps of a sweep, in the order of its grid: the last parameter varies fastest.

    Attributes
    ----------
    rows : tuple of SweepRow
    grid : mapping of str to tuple
        The values of every parameter that was varied.
    shared_seconds : float
        What was computed once for all maps took so long: neighbours, principal components.
    """

    rows: tuple[SweepRow, ...]
    grid: Mapping[str, tuple[Any, ...]]
    shared_seconds: float = 0.0

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[SweepRow]:
        return iter(self.rows)

    @overload
    def __getitem__(self, index: int) -> SweepRow: ...

    @overload
    def __getitem__(self, index: slice) -> tuple[SweepRow, ...]: ...

    def __getitem__(self, index: int | slice) -> SweepRow | tuple[SweepRow, ...]:
        return self.rows[index]

    def __repr__(self) -> str:
        cells = [self._headings(), *([_cell(value) for value in row] for row in self._values())]
        widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
        lines = [
            "  ".join(f"{cell:>{width}}" for cell, width in zip(line, widths, strict=True))
            for line in cells
        ]
        return "\n".join([f"Sweep of {len(self)} maps", *(line.rstrip() for line in lines)])

    def _repr_html_(self) -> str:
        head = "".join(f"<th>{html.escape(name)}</th>" for name in self._headings())
        body = "".join(
            "<tr>" + "".join(f"<td>{html.escape(_cell(value))}</td>" for value in row) + "</tr>"
            for row in self._values()
        )
        return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"

    def best(self, by: str = "kl_divergence") -> SweepRow:
        """Return the row of the best map.

        Parameters
        ----------
        by : {"kl_divergence", "preservation", "seconds"}, default="kl_divergence"
            The lowest KL divergence, the highest preservation or the fewest seconds. KL
            divergences compare only at equal perplexity: a higher one asks less of the map.

        Returns
        -------
        SweepRow

        Raises
        ------
        ValueError
            There is no such measure, or no map has it.
        """
        if by not in MORE_IS_BETTER:
            raise ValueError(
                f'A sweep has no measure "{by}"; use one of {", ".join(MORE_IS_BETTER)}.'
                f"{did_you_mean(by, MORE_IS_BETTER)}"
            )
        measured = [row for row in self.rows if np.isfinite(getattr(row, by))]
        if not measured:
            others = ", ".join(name for name in MORE_IS_BETTER if name != by)
            raise ValueError(
                f'No map of this sweep has the measure "{by}"; judge them by one of {others}.'
            )
        choose = max if MORE_IS_BETTER[by] else min
        return choose(measured, key=lambda row: getattr(row, by))

    def to_frame(self) -> Any:
        """Return a pandas data frame: a row per map, columns for parameters and measures.

        Returns
        -------
        pandas.DataFrame
            Its index counts the rows: ``result[3].embedding`` is the map of row 3.

        Raises
        ------
        ImportError
            pandas is not installed.
        """
        from tsne_backends.optional import import_optional

        pandas = import_optional("pandas", "pandas", "Data frames")
        columns = [*self.grid, *(name for name in MEASURES if name not in self.grid)]
        return pandas.DataFrame([row.as_dict() for row in self.rows], columns=columns)

    def _shown(self) -> list[str]:
        failed = any(row.error is not None for row in self.rows)
        return [name for name in MEASURES if name not in self.grid and (name != "error" or failed)]

    def _headings(self) -> list[str]:
        return [*self.grid, *(_HEADINGS.get(name, name) for name in self._shown())]

    def _values(self) -> list[list[Any]]:
        names = [*self.grid, *self._shown()]
        return [[row.as_dict()[name] for name in names] for row in self.rows]


_HEADINGS = {"kl_divergence": "KL", "n_iter": "iterations"}


def _cell(value: Any) -> str:
    """Return a value in few characters; an array in a table would fill the screen."""
    if isinstance(value, float):
        return "–" if np.isnan(value) else f"{value:.4g}"
    if value is None:
        return ""
    if isinstance(value, np.ndarray):
        return f"array {value.shape}"
    text = str(value)
    return text if len(text) <= 60 else text[:59] + "…"
