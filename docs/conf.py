"""Settings of the documentation site: ``sphinx-build -W -n docs build/site``."""

import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
EXTENSIONS = Path(__file__).resolve().parent / "_ext"

# Notebooks run in processes of their own, which have to find the package too.
sys.path[:0] = [str(ROOT), str(EXTENSIONS)]
os.environ["PYTHONPATH"] = os.pathsep.join(
    [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
)
os.environ.setdefault("JAX_PLATFORMS", "cpu")

import flax_snn  # noqa: E402

project = "flax_snn"
version = release = flax_snn.__version__
copyright = "the authors of flax_snn"
html_title = f"flax_snn {release}"

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.mathjax",
    "source_pages",
    "docstrings",
    "signatures",
    "names",
    "public",
    "equations",
    "ledger",
]
exclude_patterns = ["_ext"]
html_theme = "furo"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_show_sphinx = False
html_copy_source = False
html_theme_options = {"navigation_with_keys": True}

# Pages are Markdown; a page is a notebook if its header says so. A notebook that fails stops the
# build, and so does a cell of more than ten minutes, on however busy a machine.
nb_execution_mode = "cache"
nb_execution_timeout = 600
nb_execution_raise_on_error = True
nb_execution_show_tb = True
nb_merge_streams = True
myst_enable_extensions = ["dollarmath", "colon_fence"]
myst_heading_anchors = 3
myst_url_schemes = {"http": None, "https": None, "mailto": None, "source": "{{path}}"}

# Docstrings: Google style, names in single backticks.
default_role = "name"
napoleon_numpy_docstring = False
napoleon_use_ivar = True
napoleon_use_rtype = False
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 80
add_module_names = False
toc_object_entries_show_parents = "hide"
# Bases that are not public.
nitpick_ignore = [("py:class", "flax_snn.crossbar.dot_general.Analog")]
