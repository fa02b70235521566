"""Write README.md from nbs/index.ipynb, or check that the two agree: python tools/readme.py [--check]"""

import re
import sys
from pathlib import Path

import nbformat
from nbconvert import MarkdownExporter

ROOT = Path(__file__).parents[1]


def readme() -> str:
    "The index notebook as Markdown: hidden cells dropped, directives and code of cells with output only stripped."
    notebook = nbformat.read(ROOT / "nbs" / "index.ipynb", 4)
    notebook.cells = [cell for cell in notebook.cells if not re.match(r"#\|\s*(hide|default_exp)\b", cell.source)]
    for cell in notebook.cells:
        if re.match(r"#\|\s*echo:\s*false", cell.source):
            cell.metadata["transient"] = {"remove_source": True}
    text, _ = MarkdownExporter().from_notebook_node(notebook)
    text = re.sub(r"\]\(([\w/]+)\.ipynb(#[\w-]+)?\)", r"](nbs/\1.ipynb\2)", text)
    text = re.sub(r"\]\((figures/[\w.-]+)\)", r"](nbs/\1)", text)
    return re.sub(r"\n{3,}", "\n\n", text).strip() + "\n"


if __name__ == "__main__":
    path = ROOT / "README.md"
    if "--check" not in sys.argv:
        path.write_text(readme(), encoding="utf-8")
    elif path.read_text(encoding="utf-8") != readme():
        sys.exit("README.md differs from nbs/index.ipynb: run python tools/readme.py")
