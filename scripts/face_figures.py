"""Measure what the notebook's face costs, and print a table: `python scripts/face_figures.py [--no-browser]`.

Imports are the median of ten fresh interpreters over the same without unibeam; the console and the dashboard are
measured in a real JupyterLab in Chromium. Run it on a quiet host.
"""

from __future__ import annotations

import gzip
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
STATIC = ROOT / "unibeam_nb" / "notebook" / "static"
SHELL = "from IPython.core.interactiveshell import InteractiveShell as S; s = S.instance()"
LOADED = f"{SHELL}; s.run_line_magic('load_ext', 'unibeam_nb')"
RUNS = 10
FLOOD_MB = 30
WATCHED_S = 30

Row = tuple[str, str, str]


def once(code: str) -> float:
    began = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT, stdout=subprocess.DEVNULL)
    return time.perf_counter() - began


def over(code: str, base: str) -> tuple[float, float]:
    """The medians of ``code`` and ``base`` in seconds, run in turn so that both meet the same host."""
    pairs = [(once(base), once(code)) for _ in range(RUNS)]
    return statistics.median(c for _, c in pairs), statistics.median(b for b, _ in pairs)


def imports() -> Iterator[Row]:
    for what, code, base, reach in (("import unibeam_nb", "import unibeam_nb", "pass", 50),
                                    ("%load_ext unibeam_nb", LOADED, SHELL, 150)):
        long, short = over(code, base)
        yield what, f"{(long - short) * 1000:.0f} ms over {short * 1000:.0f} ms", f"<= {reach} ms"
    told = subprocess.run([sys.executable, "-X", "importtime", "-c", LOADED], check=True, cwd=ROOT, text=True,
                          capture_output=True).stderr
    own = [(int(line.split("|")[0].split(":")[1]), line.split("|")[2].strip()) for line in told.splitlines()
           if "unibeam_nb" in line]
    slow = ", ".join(f"{name.removeprefix('unibeam_nb.')} {spent / 1000:.1f}" for spent, name in sorted(own)[:-6:-1])
    yield "slowest modules of ours, ms each", slow, ""


def sizes() -> Iterator[Row]:
    for path in sorted(STATIC.glob("*.js")):
        packed = len(gzip.compress(path.read_bytes(), 9))
        reach = "<= 120 kB" if path.name == "console.js" else ""
        yield f"{path.name}, gzipped", f"{packed / 1000:.1f} kB", reach


def page_seconds(session: Any) -> float:
    """Processor seconds of the page's own thread (Chrome DevTools Protocol, Performance.getMetrics)."""
    found = {m["name"]: m["value"] for m in session.send("Performance.getMetrics")["metrics"]}
    return float(found["TaskDuration"])


def in_browser() -> Iterator[Row]:
    import nbformat
    from playwright.sync_api import sync_playwright

    from tests.browser.conftest import FLOOD, Notebook, Server, flood
    from unibeam_nb.store import Store

    recorded = (ROOT / "notebooks" / "data" / "hello.jsonl").read_bytes().splitlines(keepends=True)
    with tempfile.TemporaryDirectory() as scratch, sync_playwright() as playwright:
        server = Server(Path(scratch) / "lab", Store(Path(scratch) / "cache", Path(scratch) / "state"))
        chromium = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        try:
            journal = server.directory / "growing.jsonl"
            cells = ("%load_ext unibeam_nb\n%config UnibeamMagics.on = 'process'\n"
                     "%config UnibeamMagics.target = 'release'\nimport os; print(os.getpid())",
                     FLOOD, "machine = %unibeam boot flood --shell", "machine.console",
                     "%unibeam dashboard growing.jsonl")
            book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells],
                                            metadata={"kernelspec": {"name": "python3", "display_name": "Python 3"}})
            nbformat.write(book, server.directory / "figures.ipynb")
            page = chromium.new_page(viewport={"width": 1300, "height": 1400})
            opened = Notebook(page, server, "figures.ipynb").open()
            pid = int(opened.run(0).locator(".jp-OutputArea-output").inner_text())
            opened.run(1)
            opened.run(2)
            cell = opened.run(3)
            (machine,) = server.machines
            done = flood(opened, machine, cell, FLOOD_MB)
            lost = done.written - done.received
            yield "console", f"{done.written / done.seconds / 1e6:.1f} MB/s, {lost} bytes lost", ">= 5 MB/s, 0"
            yield "longest time between two frames meanwhile", f"{done.longest_gap * 1000:.0f} ms", "not frozen"
            machine.stop()
            yield from watched(opened, journal, recorded, pid)
        finally:
            chromium.close()
            server.stop()


def watched(book: Any, journal: Path, recorded: list[bytes], pid: int) -> Iterator[Row]:
    """What a dashboard costs that follows a journal which gets a sample twice a second."""
    journal.write_bytes(recorded[0])
    book.run(4).locator(".unibeam-face").wait_for()
    samples = [line for line in recorded[1:] if json.loads(line).get("record", "sample") == "sample"]
    over_now = threading.Event()

    def grow() -> None:
        # The last sample stays out: a complete experiment is no longer live.
        for line in samples[:-1]:
            with journal.open("ab") as stream:
                stream.write(line)
            if over_now.wait(0.5):
                return

    kernel = psutil.Process(pid)
    threading.Thread(target=grow, daemon=True).start()
    time.sleep(3)
    session = book.page.context.new_cdp_session(book.page)
    session.send("Performance.enable")
    page_before, kernel_before = page_seconds(session), sum(kernel.cpu_times()[:2])
    time.sleep(WATCHED_S)
    page, own = page_seconds(session) - page_before, sum(kernel.cpu_times()[:2]) - kernel_before
    over_now.set()
    dots = book.cell(4).locator("svg[role=img]").get_attribute("data-dots")
    yield f"live chart, {dots} dots: page", f"{page / WATCHED_S:.1%} of a core", "<= 5 % together"
    yield "live chart: kernel", f"{own / WATCHED_S:.1%} of a core", ""


def main(browser: bool) -> None:
    rows = [*imports(), *sizes(), *(in_browser() if browser else ())]
    widths = [max(len(row[i]) for row in rows) for i in range(3)]
    for row in rows:
        print("  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip())


if __name__ == "__main__":
    main("--no-browser" not in sys.argv[1:])
