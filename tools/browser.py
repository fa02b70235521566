"""Open every page of a rendered site in a headless Chromium, at the widths of a desktop and a phone, in light and in dark."""

import base64
import os
import re
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from selenium.webdriver import Chrome

WIDTHS = {"desktop": (1280, 900), "phone": (390, 844)}  # width and height in pixels
# What can't be reached without a network: there formulas stay as typed, and a badge shows its text.
UNREACHED = re.compile(r"^https://(cdn\.jsdelivr\.net/npm/(katex|mathjax)@|colab\.research\.google\.com/assets/colab-badge\.svg)\S* - Failed to load resource: net::ERR_")
SEARCHED = "mean_avg_precision"  # the search must find the page of this function
TOGGLE, SEARCH = ".quarto-color-scheme-toggle", "#quarto-search input, .smalldocs-search input"  # Quarto's and smalldocs' names
LAYOUT = """
const wide = document.documentElement.clientWidth, faults = [];
if (document.documentElement.scrollWidth > wide) {
  const culprit = [...document.querySelectorAll('main *')].find(e => e.getBoundingClientRect().right > wide + 1 && !scrolls(e));
  faults.push(`scrolls sideways: ${document.documentElement.scrollWidth} of ${wide} pixels, ${culprit ? culprit.outerHTML.slice(0, 90) : 'not the text'}`);
}
function scrolls(e) { for (; e && e.tagName != 'BODY'; e = e.parentElement) if (['auto', 'scroll'].includes(getComputedStyle(e).overflowX)) return true; return false; }
for (const table of document.querySelectorAll('main table'))
  if (table.getBoundingClientRect().right > wide + 1 && !scrolls(table)) faults.push('a table is wider than the page: ' + table.innerText.slice(0, 40));
const text = document.querySelector('main').innerText;
for (const mark of ['@fig-', '@tbl-', '@sec-', ':::', '#|']) if (text.includes(mark)) faults.push(mark + ' can be read on the page');
return faults;
"""


def chromium() -> str | None:  # the program, None if there is none
    return next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


def missing() -> str | None:  # what to install, None if all is there
    "Is there a Chromium with its driver, and Selenium?"
    try:
        import selenium  # noqa: F401
    except ImportError:
        return "Selenium: pip install selenium"
    return None if chromium() and shutil.which("chromedriver") else "Chromium: apt-get install chromium chromium-driver"


def start() -> "Chrome":  # a headless Chromium
    from selenium.webdriver import Chrome, ChromeOptions
    from selenium.webdriver.chrome.service import Service

    options = ChromeOptions()
    options.binary_location = chromium()
    for flag in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-background-networking", "--hide-scrollbars"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "SEVERE"})
    return Chrome(options=options, service=Service(shutil.which("chromedriver")))


def resize(
    driver: "Chrome",  # the browser
    width: int,  # pixels
    height: int,  # pixels
) -> None:
    "Give the page this size, whatever the window's least width is."
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600})


def background(
    driver: "Chrome",  # the browser
) -> float:  # lightness of the page, from 0 to 255
    colour = driver.execute_script("return getComputedStyle(document.body).backgroundColor")
    return sum(map(float, re.findall(r"[\d.]+", colour)[:3])) / 3


def shoot(
    driver: "Chrome",  # the browser
    path: Path,  # the picture to write
) -> None:
    "A picture of the whole page, at most 12,000 pixels high, after its colours have stopped to change."
    driver.execute_async_script("const done = arguments[0]; Promise.allSettled(document.getAnimations().map(each => each.finished)).then(() => done())")
    width, height = driver.execute_script("return [document.documentElement.clientWidth, document.documentElement.scrollHeight]")
    clip = {"x": 0, "y": 0, "width": width, "height": min(height, 12_000), "scale": 1}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(base64.b64decode(driver.execute_cdp_cmd("Page.captureScreenshot", {"clip": clip, "captureBeyondViewport": True})["data"]))


def toggle(
    driver: "Chrome",  # the browser
) -> bool:  # did the page turn within two seconds?
    "Click the switch of light and dark, wherever it is."
    was_dark = background(driver) < 128
    driver.execute_script(f"document.querySelector('{TOGGLE}').click()")
    return any((background(driver) < 128) != was_dark or time.sleep(.05) for _ in range(40))


def page_faults(
    driver: "Chrome",  # the browser
    address: str,  # the page
    name: str,  # what to call it
    shots: Path | None,  # folder for pictures
) -> Iterator[str]:  # what is wrong with it
    "Load a page at each width, look at its layout, its console and its two modes."
    for device, size in WIDTHS.items():
        resize(driver, *size)
        driver.get(address)
        yield from (f"{name} on a {device}: {fault}" for fault in driver.execute_script(LAYOUT))
        yield from (f"{name} on a {device}: console: {entry['message']}" for entry in driver.get_log("browser") if not UNREACHED.match(entry["message"]))
        for mode in ("light", "dark"):
            if shots:
                shoot(driver, shots / f"{Path(name).stem}-{device}-{mode}.png")
            if not toggle(driver):
                yield f"{name} on a {device}: the switch does not turn it from {mode}"


def search_faults(
    driver: "Chrome",  # the browser
    address: str,  # a page with a search
) -> Iterator[str]:  # what is wrong with it
    "Type the name of a function into the search and read what it shows."
    from selenium.webdriver.common.by import By

    resize(driver, *WIDTHS["desktop"])
    driver.get(address)
    for button in driver.find_elements(By.CSS_SELECTOR, "#quarto-search .aa-DetachedSearchButton"):
        button.click()  # Quarto's search opens in a layer of its own where the bar is narrow
    boxes = [box for box in driver.find_elements(By.CSS_SELECTOR, f"{SEARCH}, .aa-Input") if box.is_displayed()]
    if not boxes:
        yield "there is no search to type into"
        return
    boxes[0].send_keys(SEARCHED)
    for _ in range(50):
        links = driver.execute_script("return [...document.querySelectorAll('.aa-Panel a, .aa-DetachedContainer a, .smalldocs-search-results a')].map(a => a.getAttribute('href'))")
        if any("metric.html" in (link or "") for link in links):
            return
        time.sleep(.1)
    yield f"the search for {SEARCHED} does not find metric.html: {links[:5]}"


def check(
    base: str,  # address of the site, with a slash at its end
    names: list[str],  # its pages
    shots: Path | None = None,  # folder for pictures of all pages
) -> list[str]:  # what is wrong
    "Every fault that a browser finds; none, and a message, where there is no browser."
    if lack := missing():
        print(f"The browser check is skipped, it needs {lack}")
        return []
    os.environ.setdefault("SE_OFFLINE", "true")
    driver = start()
    try:
        faults = [fault for name in names for fault in page_faults(driver, base + name, name, shots)]
        return faults + list(search_faults(driver, base + names[0]))
    finally:
        driver.quit()
