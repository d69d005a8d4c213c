"""Sphinx builds the site from these settings; nothing is fetched from the network."""

import os
import sys
from importlib.metadata import version as installed_version
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE / "_ext"))

project = "stkit"
author = "The stkit authors"
copyright = "The stkit authors, Apache-2.0"
release = version = installed_version("stkit-torch")

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    *sorted(path.stem for path in (HERE / "_ext").glob("stkit_*.py")),
]
exclude_patterns = ["_build", "_ext", "generated", "records"]

# Notebooks call the stkit beside this Python. They run in a folder that is thrown away, and again only when a cell of
# theirs changed: `make clean` forgets what they gave.
os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
nb_execution_mode = "cache"
nb_execution_in_temp = True
nb_execution_raise_on_error = True
nb_execution_timeout = 900
nb_output_stderr = "remove"

myst_enable_extensions = ["colon_fence", "deflist", "dollarmath", "attrs_inline"]
myst_heading_anchors = 3
# Curly quotes and dots; two dashes stay, because options begin with them.
smartquotes_action = "qe"

autodoc_typehints = "signature"
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
autodoc_mock_imports = []
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True
python_display_short_literal_types = True
maximum_signature_line_length = 100

html_math_renderer = "svg"

html_theme = "pydata_sphinx_theme"
html_title = "stkit"
html_static_path = ["_static"]
html_css_files = ["stkit.css"]
html_domain_indices = False
html_show_sourcelink = False
html_copy_source = False
html_theme_options = {
    "logo": {"text": "stkit"},
    "navbar_align": "left",
    "header_links_before_dropdown": 6,
    "navbar_end": ["theme-switcher"],
    "show_prev_next": False,
    "show_nav_level": 1,
    "footer_start": ["copyright"],
    "footer_end": [],
    "pygments_light_style": "friendly",
    "pygments_dark_style": "github-dark",
}
html_sidebars = {"index": [], "design": []}
