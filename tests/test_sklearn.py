"""scikit-learn's own view of the estimator: its common checks, on every configuration."""

from sklearn.utils.estimator_checks import parametrize_with_checks

from tsne_backends import ServerlessTSNE

# The common checks use data sets of a few rows: perplexity must be below that.
SMALL = {"perplexity": 2, "max_iter": 250}


@parametrize_with_checks(
    [
        ServerlessTSNE(**SMALL),
        ServerlessTSNE(**SMALL, backend="opentsne", init="random"),
        ServerlessTSNE(**SMALL, backend="opentsne", method="fft"),
        ServerlessTSNE(**SMALL, backend="opentsne", n_components=1),
        ServerlessTSNE(**SMALL, backend="opentsne", metric="cosine"),
        ServerlessTSNE(**SMALL, backend="sklearn"),
        ServerlessTSNE(**SMALL, backend="sklearn", n_components=3),
        ServerlessTSNE(**SMALL, backend="sklearn", method="exact"),
    ]
)
def test_common_checks(estimator, check):
    check(estimator)
