"""Run notebooks as Colab would: the built wheel in an environment of its own, an empty folder, no checkout, no nbdev, nobody to ask.

python tools/colab.py                        every notebook with a badge; those that clone the repository find its tools
python tools/colab.py nbs/01_split.ipynb …   these
"""

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import textwrap
import time
import venv
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

ROOT = Path(__file__).parents[1]
UNWANTED = (".git", "_proc", "_docs", "build", "dist", "*.egg-info", "checkpoints")  # what a copy of the checkout need not hold
SLOW = re.compile(r"(?:#\|.*\n)*#\|\s*(slow|gpu|net)\b")  # the flag may stand below another
COLAB = '''
class SecretNotFoundError(Exception): pass
class NotebookAccessError(Exception): pass
def get(name): raise SecretNotFoundError(name)
'''


def with_badge() -> list[Path]:  # the notebooks that readers can open in Colab
    return [path for path in sorted((ROOT / "nbs").rglob("*.ipynb")) if f"/{path.relative_to(ROOT).as_posix()})" in path.read_text(encoding="utf-8").partition("## ")[0]]


def run(
    *command: str | Path,  # a command and its arguments
) -> None:
    "Run a command; `RuntimeError` with what it printed where it fails."
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True)  # nosec B603: no shell, and the arguments are our own
    if done.returncode:
        raise RuntimeError(f"{' '.join(map(str, command))}: {done.stdout}{done.stderr}")


def build_wheel(
    folder: Path,  # where to put it
) -> Path:  # the wheel
    "Build the wheel from a copy of the checkout, which stays as it is."
    copy = shutil.copytree(ROOT, folder / "copy", ignore=shutil.ignore_patterns(*UNWANTED, "nbs"))
    run(sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", folder, copy)
    return next(folder.glob("*.whl"))


def environment(
    folder: Path,  # where to make it
    wheel: Path,  # the package to install
) -> dict[str, str]:  # variables for a kernel in it
    "A virtual environment that holds the wheel; its dependencies are those of this one, as Colab has its own."
    venv.create(folder / "env", with_pip=False)
    python = folder / "env" / "bin" / "python"
    site = Path(sysconfig.get_path("purelib", vars={"base": str(folder / "env")}))
    run(sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--ignore-installed", "--no-deps", "--no-index", wheel)
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n", encoding="utf-8")
    (site / "google" / "colab").mkdir(parents=True)
    (site / "google" / "colab" / "__init__.py").write_text("from google.colab import userdata\n", encoding="utf-8")
    (site / "google" / "colab" / "userdata.py").write_text(COLAB, encoding="utf-8")
    kernel = folder / "jupyter" / "kernels" / "colab"
    kernel.mkdir(parents=True)
    argv = [str(python), "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    (kernel / "kernel.json").write_text(json.dumps({"argv": argv, "display_name": "Colab", "language": "python"}), encoding="utf-8")
    path = os.pathsep.join([str(python.parent), "/usr/local/bin", "/usr/bin", "/bin"])
    return {"JUPYTER_PATH": str(folder / "jupyter"), "PATH": path, "PYTHONPATH": "", "HF_HUB_OFFLINE": "1", "IN_TEST": ""}


def as_in_colab(
    path: Path,  # a notebook
    place: str,  # the folder that sciexam must be imported from
    slow: bool = False,  # run slow cells, too?
) -> nbformat.NotebookNode:  # what to run
    "The notebook as it stands, less its slow cells, after a look at where the package comes from."
    notebook = nbformat.read(path, 4)
    notebook.cells = [cell for cell in notebook.cells if slow or cell.cell_type != "code" or not SLOW.match(cell.source)]
    look = f"""
        import sys
        import google.colab
        import sciexam
        sys.modules["nbdev"] = None  # Colab has none
        if not sciexam.__file__.startswith({place!r}): raise ImportError(f"sciexam comes from {{sciexam.__file__}}")"""
    notebook.cells.insert(0, nbformat.v4.new_code_cell(textwrap.dedent(look)))
    return notebook


def fault(
    path: Path,  # a notebook
    folder: Path,  # of the environment
    kernel: dict[str, str],  # its variables
    slow: bool = False,  # run slow cells, too?
    timeout: int = 1800,  # seconds a cell
) -> str | None:  # what went wrong
    "Run one notebook from the top in an empty folder."
    notebook = as_in_colab(path, str(folder / "env"), slow)
    install = next((cell.source for cell in notebook.cells[1:5] if "/content" in cell.source and "pip install" in cell.source), None)
    if not install:
        return "no first cell that installs the package in Colab"
    with tempfile.TemporaryDirectory(dir=folder) as content:
        work = Path(content)
        if "git clone" in install:  # the notebook needs files of the repository, and goes on in a clone of it
            shutil.copytree(ROOT, work / "sciexam", ignore=shutil.ignore_patterns(*UNWANTED))
            shutil.rmtree(work / "sciexam" / "sciexam")  # imports must find the wheel
            work = work / re.search(r"%cd -q (\S+)", install)[1]  # the page's own folder
        try:
            NotebookClient(notebook, kernel_name="colab", timeout=timeout, allow_stdin=False, resources={"metadata": {"path": str(work)}}).execute(env=os.environ | kernel)
        except CellExecutionError as error:
            return str(error)
    return None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("notebooks", nargs="*", type=Path, default=with_badge(), help="which; all with a badge if none is named")
    parser.add_argument("--slow", action="store_true", help="run slow cells, too")
    parser.add_argument("--wheel", type=Path, help="take this wheel instead of building one")
    arguments, failed = parser.parse_args(), 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name).resolve()
        kernel = environment(folder, arguments.wheel or build_wheel(folder))
        os.environ["JUPYTER_PATH"] = kernel["JUPYTER_PATH"]  # where nbclient looks for the kernel
        for path in arguments.notebooks:
            start, wrong = time.perf_counter(), fault(path, folder, kernel, arguments.slow)
            failed += bool(wrong)
            print(f"{path.name}: {wrong or 'runs'} ({time.perf_counter() - start:.0f} s)", flush=True)
    sys.exit(f"{failed} of {len(arguments.notebooks)} notebooks do not run in Colab" if failed else 0)


if __name__ == "__main__":
    main()
