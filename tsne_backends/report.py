"""How good a map is, as one report: five scores, each with the error of its sample.

What is told of a map, and in which words, is here; how the scores are computed is in ``scores``
and, for the KL divergence, in ``quality``.
"""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tsne_backends.labels import as_labels, class_codes
from tsne_backends.libraries import library_threads
from tsne_backends.machine import thread_count
from tsne_backends.neighbors import neighbors_graph
from tsne_backends.outline import check_is_matrix
from tsne_backends.preservation import sample_of
from tsne_backends.problem import Problem
from tsne_backends.quality import checked_embedding, kl_with_error
from tsne_backends.sampling import check_sample_size
from tsne_backends.scores import distance_correlation, neighbour_scores, silhouette

#: Rows up to which the neighbours that the KL divergence rests on are searched exactly.
EXACT_SEARCH_MAX = 20_000
_SCORE_NAMES = (
    "neighbor_preservation",
    "trustworthiness",
    "kl_divergence",
    "distance_correlation",
    "silhouette",
)


@dataclass(frozen=True)
class Score:
    """One figure about a map.

    Attributes
    ----------
    name : str
    value : float or None
        None where the score is not defined; ``meaning`` says why.
    standard_error : float or None
        Of sampling; 0 where nothing was sampled.
    meaning : str
        Range, and what the figure was computed from.
    """

    name: str
    value: float | None
    standard_error: float | None
    meaning: str

    def __str__(self) -> str:
        if self.value is None:
            return "not defined"
        error = f" ± {self.standard_error:.4f}" if self.standard_error else ""
        return f"{self.value:.4f}{error}"


@dataclass(frozen=True)
class QualityReport:
    """What `quality_report` found; prints as a table.

    Attributes
    ----------
    n_samples, n_features, n_components : int
        Shapes of the data and of the map.
    neighbor_preservation : Score
        Share of each row's nearest neighbours that are among its nearest on the map; 0 to 1.
    trustworthiness : Score
        1 where no row has neighbours on the map that are far from it in the data.
    kl_divergence : Score or None
        What t-SNE makes small, in nats; None where it was left out.
    distance_correlation : Score
        Spearman's rank correlation of distances in the data and on the map; -1 to 1.
    silhouette : Score or None
        How far classes lie apart on the map; -1 to 1. None without labels.
    """

    n_samples: int
    n_features: int
    n_components: int
    neighbor_preservation: Score
    trustworthiness: Score
    kl_divergence: Score | None
    distance_correlation: Score
    silhouette: Score | None

    @property
    def scores(self) -> tuple[Score, ...]:
        """The scores that were computed, in the order of the table."""
        every = [getattr(self, name) for name in _SCORE_NAMES]
        return tuple(score for score in every if score is not None)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, fit for JSON."""
        scores = {name: getattr(self, name) for name in _SCORE_NAMES}
        return {
            "n_samples": self.n_samples,
            "n_features": self.n_features,
            "n_components": self.n_components,
        } | {name: None if one is None else dict(vars(one)) for name, one in scores.items()}

    def __str__(self) -> str:
        cells = [(score.name, str(score), score.meaning) for score in self.scores]
        widths = [max(len(row[column]) for row in cells) for column in (0, 1)]
        lines = [f"{a:<{widths[0]}}  {b:<{widths[1]}}  {c}" for a, b, c in cells]
        return "\n".join([self._title(), *lines])

    def _repr_html_(self) -> str:
        cells = [(score.name, str(score), score.meaning) for score in self.scores]
        rows = ["<tr>" + "".join(f"<td>{escape(c)}</td>" for c in row) + "</tr>" for row in cells]
        return f"<table><caption>{self._title()}</caption>{''.join(rows)}</table>"

    def _title(self) -> str:
        return f"Map of {self.n_samples:,} rows, {self.n_features} → {self.n_components} dimensions"


def quality_report(
    X: Any,
    embedding: Any,
    labels: Any = None,
    *,
    k: int = 15,
    perplexity: float | None = 30.0,
    sample: int | None = 5_000,
    random_state: int = 0,
    n_jobs: int | None = None,
) -> QualityReport:
    """Judge a map, whichever program made it.

    Parameters
    ----------
    X : array-like, data frame or sparse matrix of shape (n_samples, n_features)
        The data; Euclidean distances are used.
    embedding : array-like of shape (n_samples, n_components)
        The map.
    labels : array-like of shape (n_samples,), optional
        Classes, for the silhouette; rows without a label are left out of it.
    k : int, default=15
        Neighbours per row, less than half the rows.
    perplexity : float or None, default=30.0
        Of the KL divergence, less than the number of rows; None leaves the KL divergence out,
        which needs the neighbours and affinities of all rows.
    sample : int or None, default=5000
        Rows that scores are averaged over, each judged against all rows; None takes all, which
        takes n² operations.
    random_state : int, default=0
        Seed of the sample.
    n_jobs : int, optional
        Threads; None is every usable core.

    Returns
    -------
    QualityReport

    Raises
    ------
    ValueError
        Shapes do not fit, values are not finite, the data or the map have all rows in one place,
        there are too few rows for k, or the labels are no classes.

    Notes
    -----
    Standard errors are those of drawing the sample anew, with data and map as they are. Means over
    rows have that of a sample without replacement; the KL divergence has that of its sampled
    normalisation; the correlation's comes from the spread among disjoint parts of its pairs of
    rows.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from tsne_backends import ServerlessTSNE, quality_report
    >>> X = load_iris().data
    >>> report = quality_report(X, ServerlessTSNE(random_state=0).fit_transform(X))
    >>> report.trustworthiness.value > 0.95
    True
    """
    X = _checked_data(X)
    Y = checked_embedding(X, np.asarray(embedding))
    n = X.shape[0]
    _check_spread(Y)
    _check_sizes(n, k, perplexity, sample)
    codes = None
    if labels is not None:
        column = as_labels(labels, n)
        codes, _ = class_codes(column)

    rows = sample_of(n, sample, random_state)
    looked_at = f"{len(rows):,} rows of {n:,}" if len(rows) < n else "all rows"
    n_threads = thread_count(n_jobs)
    with library_threads(n_threads):
        preserved, trust = neighbour_scores(X, Y, rows, k, n_threads)
    divergence = None
    if perplexity is not None:
        divergence = _divergence(X, Y, perplexity, sample, random_state, n_jobs)
    order, order_error, n_pairs = distance_correlation(X, Y, random_state)
    return QualityReport(
        n_samples=n,
        n_features=X.shape[1],
        n_components=Y.shape[1],
        neighbor_preservation=Score(
            f"{k}-neighbour preservation",
            *preserved,
            f"0 to 1, by chance {k / (n - 1):.2g}; {looked_at}",
        ),
        trustworthiness=Score("trustworthiness", *trust, f"0 to 1, {k} neighbours; {looked_at}"),
        kl_divergence=divergence,
        distance_correlation=Score(
            "distance correlation", order, order_error, f"-1 to 1, Spearman; {n_pairs:,} pairs"
        ),
        silhouette=None if codes is None else _silhouette(Y, codes, sample, random_state),
    )


def _checked_data(X: Any) -> Any:
    from sklearn.utils import check_array

    check_is_matrix(X)
    X = check_array(X, accept_sparse="csr", dtype=[np.float32, np.float64])
    peak = X.max(axis=0) - X.min(axis=0)
    if not (peak.toarray() if hasattr(peak, "toarray") else peak).any():
        raise ValueError(
            "All rows of X are equal, so no map of them is better than another; check the data."
        )
    return X


def _check_spread(Y: NDArray[np.float64]) -> None:
    if not (Y.max(axis=0) - Y.min(axis=0)).any():
        raise ValueError(
            "All rows of the embedding are in one place, so it shows nothing that could be judged; "
            "check how it was made."
        )


def _check_sizes(n: int, k: int, perplexity: float | None, sample: int | None) -> None:
    if not 1 <= k < n / 2:
        raise ValueError(
            f"k must be at least 1 and less than half of the {n} rows, or trustworthiness is not "
            f"defined; it was {k}."
        )
    if perplexity is not None and not 1 <= perplexity < n:
        raise ValueError(
            f"perplexity must be at least 1 and less than the number of rows ({n}); it was "
            f"{perplexity}."
        )
    if sample is not None:
        check_sample_size(sample)
        if sample < 2:
            raise ValueError("A sample of 1 row has no standard error; take at least 2.")


def _divergence(
    X: Any,
    Y: NDArray[np.float64],
    perplexity: float,
    sample: int | None,
    random_state: int,
    n_jobs: int | None,
) -> Score:
    n, d = X.shape
    problem = Problem(
        n, d, perplexity=perplexity, n_threads=thread_count(n_jobs), is_sparse=hasattr(X, "tocsr")
    )
    graph = neighbors_graph(problem, X, "exact" if n <= EXACT_SEARCH_MAX else "auto")
    value, error = kl_with_error(
        X,
        Y,
        perplexity,
        graph=graph,
        sample=sample,
        random_state=random_state,
        n_jobs=n_jobs,
    )
    words = f"nats, from 0, perplexity {perplexity:g}; neighbours: {graph.search}"
    return Score("KL divergence", value, error, words)


def _silhouette(
    Y: NDArray[np.float64], codes: NDArray[np.int64], sample: int | None, random_state: int
) -> Score:
    labelled = np.flatnonzero(codes >= 0)
    sizes = np.bincount(codes[labelled])
    name = "label silhouette"
    if len(sizes) == 1:
        return Score(name, None, None, "it compares classes, and all labels are the same")
    if sizes.max() == 1:
        return Score(name, None, None, "it compares classes, and no two rows share a label")
    value, error, used = silhouette(Y[labelled], codes[labelled], sample, random_state)
    words = f"-1 to 1, {len(sizes):,} classes; {used:,} rows of {len(labelled):,} with a label"
    return Score(name, value, error, words)
