"""Draw the social card nbs/card.png from nbs/card.svg with Chromium: python tools/card.py"""

import subprocess
import tempfile
from pathlib import Path

from browser import chromium
from PIL import Image

NBS = Path(__file__).parents[1] / "nbs"


def draw(
    svg: Path,  # the drawing
    png: Path,  # the picture to write, 1200 by 630 pixels in 64 colours
) -> None:
    "Draw `svg` as Chromium shows it; `FileNotFoundError` without a browser."
    if not (browser := chromium()):
        raise FileNotFoundError("no Chromium found: apt-get install chromium.")
    with tempfile.TemporaryDirectory() as folder:
        page, shot = Path(folder, "card.html"), Path(folder, "card.png")
        page.write_text(f'<body style="margin:0">{svg.read_text(encoding="utf-8")}', encoding="utf-8")
        flags = ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--window-size=1200,630"]
        subprocess.run([browser, *flags, f"--screenshot={shot}", page.as_uri()], check=True, capture_output=True)  # nosec B603: no shell, and the arguments are our own
        Image.open(shot).convert("RGB").crop((0, 0, 1200, 630)).quantize(64).save(png, optimize=True)


if __name__ == "__main__":
    draw(NBS / "card.svg", NBS / "card.png")
