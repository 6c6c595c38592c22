"""`tsne` for AnnData objects, in place of ``scanpy.tl.tsne``: it reads and writes the same places.

Needs neither scanpy nor anndata itself: the object that is passed brings what is used. Files are
read and written in ``files``.
"""

from __future__ import annotations

from typing import Any

from tsne_backends.errors import did_you_mean
from tsne_backends.estimator import ServerlessTSNE
from tsne_backends.files.h5ad import OBSM_KEY, PCA_KEY, default_representation
from tsne_backends.machine import thread_count

#: What ``scanpy.tl.tsne`` notes of its parameters.
NOTED = ("perplexity", "early_exaggeration", "learning_rate", "metric")


def tsne(
    adata: Any,
    use_rep: str | None = None,
    *,
    n_pcs: int | None = None,
    key_added: str | None = None,
    copy: bool = False,
    random_state: Any = 0,
    **parameters: Any,
) -> Any:
    """Add a t-SNE map to an AnnData object.

    Parameters
    ----------
    adata : AnnData of n_obs × n_vars
        Also one that is backed by a file: the map is then kept in memory until ``adata.write()``,
        and X is read only where it is what is embedded.
    use_rep : str, optional
        Key in ``obsm``, or ``"X"``. None is ``"X_pca"``, or X itself where it has no more than 50
        variables, as in scanpy.
    n_pcs : int, optional
        Use so many leading columns of the representation; 0 with ``use_rep=None`` means X.
    key_added : str, optional
        Key for both ``obsm`` and ``uns``. None is ``obsm["X_tsne"]`` and ``uns["tsne"]``.
    copy : bool, default=False
        Return a changed copy instead of changing ``adata``.
    random_state : int, RandomState instance or None, default=0
        As in scanpy, a map repeats unless None is passed.
    **parameters
        Further parameters of `ServerlessTSNE`, whose defaults they have: the learning rate is
        ``"auto"``, where scanpy's is 1,000.

    Returns
    -------
    AnnData or None
        The copy, if one was asked for. ``obsm`` holds the map, an ndarray of shape (n_obs,
        n_components), float32; ``uns`` holds its parameters.

    Raises
    ------
    TypeError
        ``adata`` is no AnnData, or a parameter does not exist.
    ValueError
        There is no such representation, or it has too few columns.
    """
    if not (hasattr(adata, "obsm") and hasattr(adata, "uns")):
        raise TypeError(
            f"tsne takes an AnnData object; it was given a {type(adata).__name__}. For a matrix "
            "use ServerlessTSNE().fit_transform."
        )
    estimator = _estimator(parameters, random_state)
    if copy and adata.isbacked:
        raise ValueError(
            "A backed AnnData object cannot be copied in memory; use copy=False, or "
            "adata.to_memory() first."
        )
    X = _representation(adata, use_rep, n_pcs)
    adata = adata.copy() if copy else adata
    embedding = estimator.fit(X).embedding_
    obsm_key, uns_key = (OBSM_KEY, "tsne") if key_added is None else (key_added, key_added)
    noted = {name: getattr(estimator, name) for name in NOTED}
    noted |= {"n_jobs": thread_count(estimator.n_jobs), "use_rep": use_rep}
    if callable(noted["metric"]):  # which no file could hold
        noted["metric"] = getattr(noted["metric"], "__name__", "a function")
    adata.obsm[obsm_key] = embedding
    adata.uns[uns_key] = {
        "params": {name: value for name, value in noted.items() if value is not None}
    }
    return adata if copy else None


def _estimator(parameters: dict[str, Any], random_state: Any) -> ServerlessTSNE:
    known = ServerlessTSNE().get_params()
    for name in parameters:
        if name not in known:
            raise TypeError(f'tsne has no parameter "{name}".{did_you_mean(name, known)}')
    return ServerlessTSNE(random_state=random_state, **parameters)


def _representation(adata: Any, use_rep: str | None, n_pcs: int | None) -> Any:
    """Return what is to be embedded, chosen as scanpy chooses."""
    if use_rep is None and n_pcs == 0:
        use_rep = "X"
    if use_rep is None:
        use_rep = default_representation(adata.n_vars)
        if use_rep == "X":
            return _in_memory(adata.X)
        if use_rep not in adata.obsm:
            raise ValueError(
                f'X has {adata.n_vars} variables and obsm has no "{PCA_KEY}"; run sc.pp.pca(adata) '
                'first, name another representation with use_rep, or pass use_rep="X" to embed X '
                "as it is."
            )
    if use_rep not in adata.obsm:
        if use_rep == "X":
            return _in_memory(adata.X)
        known = ["X", *adata.obsm]
        raise ValueError(
            f'There is no representation "{use_rep}" in obsm, only '
            f"{', '.join(known)}.{did_you_mean(use_rep, known)}"
        )
    X = adata.obsm[use_rep]
    X = X.to_numpy() if hasattr(X, "to_numpy") else X
    if n_pcs is None:
        return X
    if n_pcs > X.shape[1]:
        raise ValueError(
            f'n_pcs is {n_pcs}, but "{use_rep}" has {X.shape[1]} columns; lower n_pcs, or compute '
            "more of them."
        )
    return X[:, :n_pcs]


def _in_memory(X: Any) -> Any:
    """Return X itself, read from its file where the object is backed by one."""
    if hasattr(X, "to_memory"):  # a sparse matrix in a file
        return X.to_memory()
    return X[:] if type(X).__module__.startswith("h5py") else X
