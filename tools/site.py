"""Render the site for a local look, and check its pages, links, anchors and images.

python tools/site.py                  process the notebooks, render with smalldocs, check
python tools/site.py --browser        … and open every page in a headless Chromium, see tools/browser.py
python tools/site.py --serve          … and serve it on this machine
python tools/site.py --folder _docs   check a site that is rendered already, by Quarto for example

Quarto publishes the site; smalldocs needs nothing but Python, and shows nearly the same pages.
"""

import argparse
import inspect
import json
import re
import shutil
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import chdir, contextmanager
from functools import cache, partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urljoin, urlsplit

import yaml
from bs4 import BeautifulSoup

ROOT = Path(__file__).parents[1]
SITE = "https://sciexam.github.io/sciexam/"  # where the site is published
LEFTOVERS = ("@fig-", "@tbl-", "@sec-", ":::", "#|", "{=html}", "{.cell")  # markup that a renderer should have turned into something


def signature(
    function: Callable,  # what to document
    **options: bool,  # `eval_str` and others of `inspect.signature`
) -> inspect.Signature:  # with annotations as typed where they can't be evaluated
    "A signature though some types are imported for type checkers alone."
    try:
        return inspect.signature(function, **options)
    except NameError:
        return inspect.signature(function)


def process() -> Path:  # the folder _proc, ready for `quarto render`
    "Process the notebooks as nbdev does before it calls Quarto: hidden cells dropped, references of functions added."
    import fastcore.docments
    import nbdev.doclinks
    import nbdev.serve_drv
    from nbdev.quarto import nbdev_sidebar, refresh_quarto_yml
    from nbdev.serve import proc_nbs

    def all_of(task: tuple[Path, Path, object], main: Callable = nbdev.serve_drv.main) -> None:  # goes on after a notebook that fails, to name them all
        try:
            with chdir(task[0].parent):  # a page in a folder finds its files as in its tests
                main(task)
        except Exception as error:  # whatever the notebook's own code raises
            lines = str(error.__cause__ or error).strip().splitlines()
            failed.append(f"{task[0].name}: {lines[-1] if lines else type(error).__name__}, in: {str(error).splitlines()[1:3]}")

    failed: list[str] = []
    fastcore.docments.signature, nbdev.serve_drv.main = signature, all_of
    refresh_quarto_yml()
    nbdev.doclinks._build_modidx()
    nbdev_sidebar.__wrapped__()
    folder = proc_nbs(n_workers=0, force=True)
    if failed:
        sys.exit("\n".join([*failed, "These notebooks can't be processed: keep imports in cells of their own."]))
    for path in folder.rglob("*.ipynb"):
        said_once(path)
    return folder


def said_once(
    path: Path,  # a processed notebook, which is changed
) -> None:
    "Where a page shows the source of a function, drop the signature and the docstring above it, which say the same."
    notebook, shown = json.loads(path.read_text(encoding="utf-8")), False
    for cell in reversed(notebook["cells"]):
        source = "".join(cell["source"])
        if '#| code-summary: "Exported source"' in source:
            cell["source"], shown = re.sub(r"#\| code-(fold|summary): .*\n", "", source), True
        elif shown and source.startswith("#| echo: false\n#| output: asis\nshow_doc("):
            for output in cell["outputs"]:
                output["data"] = {"text/markdown": "".join(output["data"]["text/markdown"]).partition("\n```python\n")[0]}
        else:
            shown = False
    path.write_text(json.dumps(notebook), encoding="utf-8")


def plain_names(
    folder: Path,  # processed notebooks, 00_data.ipynb and so on
) -> None:
    "Rename notebooks to what Quarto's `output-file` makes of their pages, and their links with them."
    names = {path.name: path.name.split("_", 1)[1] for path in folder.glob("[0-9][0-9]_*.ipynb")}
    for path in [*folder.rglob("*.ipynb"), *folder.rglob("*.qmd"), folder / "_quarto.yml"]:
        text = path.read_text(encoding="utf-8")
        for old, new in names.items():
            text = re.sub(rf"(?<![/\w])((?:\.\./)?){old}", rf"\g<1>{new}", text)  # not in addresses, such as those of the Colab badges
        if path.suffix == ".yml":
            text = re.sub(r"theme-(light|dark)\.scss", "default", text)  # no Sass here: styles.css has the same colours
        path.write_text(text, encoding="utf-8")
    for old, new in names.items():
        (folder / old).rename(folder / new)


def render(
    processed: Path,  # the folder _proc
) -> Path:  # the folder of the rendered site
    "Render with smalldocs, beside the processed notebooks so that those stay as Quarto needs them."
    folder = processed / "_local"
    shutil.copytree(processed, folder, ignore=shutil.ignore_patterns("_*[!.yml]"), dirs_exist_ok=True)
    plain_names(folder)
    run = subprocess.run([sys.executable, "-m", "smalldocs.cli", "render", "--quiet", str(folder)], capture_output=True, text=True)  # nosec B603: no shell, and the arguments are our own
    if run.returncode:
        sys.exit(f"smalldocs: {run.stderr}")
    return folder / "_docs"


@cache
def soup(
    page: Path,  # an HTML file
) -> BeautifulSoup:  # its content
    return BeautifulSoup(page.read_text(encoding="utf-8"), "html.parser")


@cache
def anchors(
    page: Path,  # an HTML file
) -> frozenset[str]:  # everything that a link can point to in it
    return frozenset(str(tag[name]) for name in ("id", "name") for tag in soup(page).find_all(attrs={name: True}))


def target(
    folder: Path,  # the site
    page: Path,  # the page that holds the link
    link: str,  # an address as it stands there
) -> tuple[Path, str] | None:  # the file and anchor it leads to, None for another site
    address = urlsplit(urljoin(SITE + page.relative_to(folder).as_posix(), link))
    if not address.geturl().startswith(SITE.rstrip("/")):
        return None
    path = folder / unquote(address.path.removeprefix(urlsplit(SITE).path.rstrip("/")).lstrip("/"))
    return (path / "index.html" if path.is_dir() else path), unquote(address.fragment)


def page_faults(
    folder: Path,  # the site
    page: Path,  # one of its pages
) -> Iterator[str]:  # what is wrong with it
    "Links, anchors and images that lead nowhere, images without a text, pages without a description, markup left over."
    content, seen = soup(page), set()
    for tag, name in [("a", "href"), ("link", "href"), ("img", "src"), ("script", "src")]:
        for link in (str(found[name]) for found in content.find_all(tag, attrs={name: True})):
            if link in seen or link.startswith(("data:", "mailto:", "javascript:", "{{")) or link in ("", "#"):
                continue
            seen.add(link)
            found = target(folder, page, link)
            if found and not found[0].is_file():
                yield f"{tag} {link}: no such file"
            elif found and found[1] and found[0].suffix == ".html" and found[1] not in anchors(found[0]) and not found[1].startswith("category="):  # a filter of the chapters
                yield f"{tag} {link}: no such anchor"
    if not content.find("meta", attrs={"name": "description"}) and page.name != "404.html":
        yield "no description"
    if not content.title or not content.title.get_text(strip=True):
        yield "no title"
    main = content.find("main") or content
    text = main.get_text(" ")
    yield from (f"{mark} stands in the text" for mark in LEFTOVERS if mark in text)


def pages(
    folder: Path,  # the site
) -> list[Path]:  # its pages
    found = sorted(path for path in folder.glob("**/*.html") if "site_libs" not in path.parts)
    if not found:
        sys.exit(f"no pages in {folder}: render the site first.")
    return found


def site_faults(
    folder: Path,  # the site
) -> Iterator[str]:  # what is wrong with it as a whole
    "Every page, then what a site needs beside its pages, and pages that the sidebar forgot."
    for page in pages(folder):
        yield from (f"{page.relative_to(folder)}: {fault}" for fault in page_faults(folder, page))
    yield from (f"{name} is missing" for name in ("index.html", "404.html", "chapters.xml", "llms.txt", "sitemap.xml", "search.json", "card.png", "mark.svg") if not (folder / name).is_file())
    entries = _entries(yaml.safe_load((ROOT / "nbs" / "_quarto.yml").read_text(encoding="utf-8"))["website"]["sidebar"])
    yield from (f"{name} stands twice in the sidebar of _quarto.yml" for name, times in Counter(entries).items() if times > 1 and name.endswith((".ipynb", ".qmd")))
    sidebar = set(entries)
    sources = {path.relative_to(ROOT / "nbs").as_posix() for kind in ("*.ipynb", "*.qmd") for path in (ROOT / "nbs").rglob(kind) if path.stem != "404" and path.name[0] not in "_." and path.parent.name[0] != "."}
    yield from (f"{name} is not in the sidebar of _quarto.yml" for name in sorted(sources - sidebar))
    yield from (f"{name} of the sidebar is no page" for name in sorted(entry for entry in sidebar - sources if entry.endswith((".ipynb", ".qmd"))))


def _entries(
    node: object,  # a piece of _quarto.yml
) -> list[str]:  # every text in it
    children = node.values() if isinstance(node, dict) else node if isinstance(node, list) else None
    return [str(node)] if children is None else [entry for child in children for entry in _entries(child)]


class Quiet(SimpleHTTPRequestHandler):
    "Serves files and says nothing."

    def log_message(self, *args): pass


@contextmanager
def running(
    folder: Path,  # the site
    port: int = 0,  # where; a free port if 0
) -> Iterator[str]:  # its address
    "Serve the site to this machine alone."
    with ThreadingHTTPServer(("127.0.0.1", port), partial(Quiet, directory=str(folder))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, help="check this rendered site instead of rendering one")
    parser.add_argument("--process", action="store_true", help="only process the notebooks, for quarto render _proc")
    parser.add_argument("--browser", action="store_true", help="also open every page in Chromium")
    parser.add_argument("--shots", type=Path, help="with --browser: folder for pictures of every page")
    parser.add_argument("--serve", action="store_true", help="serve the site on http://127.0.0.1:4200")
    arguments = parser.parse_args()
    if arguments.process:
        return print(process())
    folder = (arguments.folder or render(process())).resolve()
    faults = list(site_faults(folder))
    if arguments.browser:
        from browser import check

        with running(folder) as address:
            faults += check(address, [page.relative_to(folder).as_posix() for page in pages(folder)], arguments.shots)
    print("\n".join(faults + [f"{folder}: {len(pages(folder))} pages, {len(faults)} faults"]))
    if arguments.serve:
        with running(folder, 4200) as address:
            input(f"{address} shows the site until you press Enter. ")
    sys.exit(bool(faults))


if __name__ == "__main__":
    main()
