"""Does a wheel hold the package, the exam and nothing else? python tools/wheel.py dist/*.whl"""

import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

PACKAGE = Path(__file__).parents[1] / "sciexam"
MOST = 1_000_000  # bytes of a wheel


def faults(
    wheel: Path,  # the wheel
) -> Iterator[str]:  # what is wrong with it
    "Files that are missing, files that do not belong, a wheel that is too large."
    wanted = {path.relative_to(PACKAGE.parent).as_posix() for path in PACKAGE.rglob("*") if path.is_file() and "__pycache__" not in path.parts}
    held = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    yield from (f"{name} is missing" for name in sorted(wanted - held))
    yield from (f"{name} does not belong there" for name in sorted(held - wanted))
    if wheel.stat().st_size > MOST:
        yield f"{wheel.stat().st_size:,} bytes, at most {MOST:,} were expected"


if __name__ == "__main__":
    if not sys.argv[1:]:
        sys.exit("name a wheel: python tools/wheel.py dist/*.whl")
    found = [f"{name}: {fault}" for name in sys.argv[1:] for fault in faults(Path(name))]
    sys.exit("\n".join(found) or 0)
