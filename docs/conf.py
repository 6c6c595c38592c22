"""How Sphinx builds the documentation: ``make docs``.

Pages are the Markdown files beside this one, which read as well on a forge. The reference is made
from docstrings, the gallery by running the scripts in ``examples``; links that leave this folder
are turned to the sources they name.
"""

import re
from pathlib import Path

import tsne_backends

project = "serverless-tsne"
author = "The serverless-tsne developers"
copyright = "The serverless-tsne developers, BSD 3-Clause"
version = release = tsne_backends.__version__

extensions = [
    "myst_nb",
    "numpydoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.viewcode",
    "sphinx_design",
    "sphinx_gallery.gen_gallery",
]
exclude_patterns = ["_build", "examples/*", "gallery/*.ipynb", "gallery/*.py", "gallery/*.md5"]
source_suffix = {".rst": "restructuredtext", ".md": "myst-nb", ".ipynb": "myst-nb"}
default_role = "py:obj"  # single backticks in docstrings are names
suppress_warnings = ["config.cache"]  # the gallery holds a function, which needs no cache

html_theme = "pydata_sphinx_theme"
html_title = "serverless-tsne"
html_theme_options = {
    "navbar_align": "left",
    "header_links_before_dropdown": 6,
    "show_toc_level": 2,
    "show_prev_next": False,
    "footer_start": ["copyright"],
    "footer_end": [],
}
html_show_sourcelink = False
html_sidebars = {"**": ["globaltoc.html"], "index": []}

# Markdown: headings are link targets, as on forges; the notebook is shown as it was saved.
myst_heading_anchors = 3
myst_enable_extensions = ["colon_fence"]
nb_execution_mode = "off"

autosummary_generate = True
autodoc_typehints = "none"  # numpydoc's sections tell them
numpydoc_show_class_members = False
numpydoc_xref_param_type = False


def keep_figures(block, block_vars, gallery_conf):
    """Save the figures that a block of an example has made; ours are unknown to pyplot."""
    from matplotlib.figure import Figure
    from sphinx_gallery.scrapers import figure_rst

    paths = []
    for value in block_vars["example_globals"].values():
        if isinstance(value, Figure) and not hasattr(value, "is_in_gallery"):
            value.is_in_gallery = True
            path = next(block_vars["image_path_iterator"])
            value.savefig(path, dpi=100)
            paths.append(path)
    return figure_rst(paths, gallery_conf["src_dir"])


sphinx_gallery_conf = {
    "examples_dirs": "examples",
    "gallery_dirs": "gallery",
    "filename_pattern": r"plot_",
    "image_scrapers": (keep_figures,),
    "capture_repr": ("_repr_html_",),
    "download_all_examples": False,
    "min_reported_time": 1_000,
    "show_memory": False,
    "show_signature": False,
    "reset_modules": (),
}


def tabs(app, name, source):
    """Show the break-even tables of one number of cores at a time; a forge shows them all."""
    begin, end = "<!-- break-even: written by make_tables.py -->", "<!-- end of break-even -->"
    if begin not in source[0]:
        return
    head, rest = source[0].split(begin)
    tables, tail = rest.split(end)
    items = re.sub(
        r"\*\*(\d+ cores)\*\*\n\n((?:\|.*\n)+)",
        r"::: {tab-item} \1\n\2:::\n",
        tables.strip() + "\n",
    )
    source[0] = f"{head}:::: {{tab-set}}\n{items}::::\n{tail}"


def sources_by_name(app, name, source):
    """Name files outside this folder instead of linking to them: pages may be built anywhere."""
    outside = re.compile(r"\[([^\]]+)\]\((?:\.\./)+([^)#]+)\)")
    source[0] = outside.sub(r"\1 (`\2`)", source[0])


def without_what_sphinx_writes(app):
    """Leave nothing of an earlier build in the folder: a removed name would keep its page."""
    for page in Path(app.srcdir, "api").glob("*.rst"):
        page.unlink()


def setup(app):
    app.connect("source-read", tabs)
    app.connect("source-read", sources_by_name)
    app.connect("builder-inited", without_what_sphinx_writes, priority=1)
