"""What the notebook's face costs: imports, the bundles that a page gets, a flooded console, a live chart, a stop.

    scripts/face.py                  print
    scripts/face.py --write          and rewrite its part of BENCHMARKS.md and notebooks/data/face.json
    scripts/face.py --no-browser     only what needs no browser

Imports are the median of ten fresh interpreters over the same without unibeam; console and chart are measured in a real
JupyterLab in Chromium. Run nothing else beside it.
"""

from __future__ import annotations

import gzip
import json
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import psutil
from figures import Figure, table, write

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
STATIC = ROOT / "unibeam_nb" / "notebook" / "static"
SHELL = "from IPython.core.interactiveshell import InteractiveShell as S; s = S.instance()"
LOADED = f"{SHELL}; s.run_line_magic('load_ext', 'unibeam_nb')"
RUNS = 10
FLOOD_MB = 30
STEADY_MB, STEADY_RATE = 100, 5
WATCHED_S = 30


def once(code: str) -> tuple[float, float]:
    """Seconds and processor seconds of a fresh interpreter that runs ``code``."""
    began, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.perf_counter() - began, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def imports() -> Iterator[Figure]:
    for what, code, base, plain, aim in (
            ("`import unibeam_nb`", "import unibeam_nb", "pass", "Python", "50 ms"),
            ("`%load_ext unibeam_nb`", LOADED, SHELL, "IPython", "150 ms")):
        once(base), once(code)  # The first of each reads the files from the disk.
        # In turn, so that both meet the same host.
        pairs = [(once(base), once(code)) for _ in range(RUNS)]
        more, cpu = (statistics.median(own[i] for _, own in pairs) - statistics.median(bare[i] for bare, _ in pairs)
                     for i in (0, 1))
        yield Figure(what, aim, f"{more * 1000:.0f} ms over plain {plain}, {cpu * 1000:.0f} ms of processor time "
                     f"(medians; n={RUNS})", {"plain": [bare for bare, _ in pairs], "with": [own for _, own in pairs]})
    told = subprocess.run([sys.executable, "-X", "importtime", "-c", LOADED], check=True, cwd=ROOT, text=True,
                          capture_output=True).stderr
    own = [(int(line.split("|")[0].split(":")[1]), line.split("|")[2].strip()) for line in told.splitlines()
           if "unibeam_nb" in line]
    slowest = sorted(own)[:-6:-1]
    slow = ", ".join(f"`{name.removeprefix('unibeam_nb.')}` {spent / 1000:.1f} ms" for spent, name in slowest)
    yield Figure("the slowest modules of ours then (`-X importtime`)", "", slow, {name: spent for spent, name in own})


def sizes() -> Iterator[Figure]:
    for path in sorted(STATIC.glob("*.js")):
        packed = len(gzip.compress(path.read_bytes(), 9))
        yield Figure(f"`{path.name}`, gzipped", "120 kB" if path.name == "console.js" else "",
                     f"{packed / 1000:.1f} kB", {"bytes": packed})


def spent(kernel: psutil.Process, server: psutil.Process) -> dict[str, float]:
    """Processor seconds so far of the kernel, of Jupyter's server, and of all the browser's processes."""
    own = [one for one in psutil.Process().children(recursive=True) if "chrom" in one.name()]
    return {name: sum(sum(one.cpu_times()[:2]) for one in processes)
            for name, processes in (("kernel", [kernel]), ("server", [server]), ("browser", own))}


def spent_in(seconds: float, kernel: psutil.Process, server: psutil.Process) -> dict[str, float]:
    """Processor seconds of each in this time."""
    before = spent(kernel, server)
    time.sleep(seconds)
    return {name: after - before[name] for name, after in spent(kernel, server).items()}


def in_browser() -> Iterator[Figure]:
    import nbformat
    from playwright.sync_api import sync_playwright

    from tests.browser.conftest import FLOOD, READY, SETUP, STOPPABLE, Notebook, Server, flood
    from unibeam_nb.store import Store

    recorded = (ROOT / "notebooks" / "data" / "hello.jsonl").read_bytes().splitlines(keepends=True)
    with tempfile.TemporaryDirectory() as scratch, sync_playwright() as playwright:
        server = Server(Path(scratch) / "lab", Store(Path(scratch) / "cache", Path(scratch) / "state"))
        chromium = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        try:
            journal = server.directory / "growing.jsonl"
            cells = (f"{SETUP}\nimport os; print(os.getpid())", FLOOD, "machine = %unibeam boot flood --shell",
                     "machine.console", "%unibeam dashboard growing.jsonl", *STOPPABLE)
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
            assert lost == done.missed
            yield Figure(f"console, {FLOOD_MB} MB printed at once", "5 MB/s, no byte lost",
                         f"{done.written / done.seconds / 1e6:.1f} MB/s, {lost} bytes lost",
                         {"bytes": done.written, "seconds": done.seconds, "lost_bytes": lost})
            yield Figure("the page meanwhile: longest time between two frames", "not frozen",
                         f"{done.longest_gap * 1000:.0f} ms", {"seconds": done.longest_gap})
            before = done
            done = flood(opened, machine, cell, STEADY_MB, STEADY_RATE)
            written, lost = done.written - before.written, done.missed - before.missed
            assert done.written - done.received == done.missed
            yield Figure(f"console, {STEADY_MB} MB at a steady {STEADY_RATE} MB/s", "no byte lost",
                         f"{written / 1e6:.0f} MB in {done.printed_s:.1f} s, {lost} bytes lost; the page was up to "
                         f"{done.behind / 1e6:.1f} MB behind, its frames up to {done.longest_gap * 1000:.0f} ms apart",
                         {"bytes": written, "seconds": done.printed_s, "lost_bytes": lost, "behind": done.behind,
                          "longest_gap_s": done.longest_gap})
            machine.stop()
            yield from watched(opened, journal, recorded, psutil.Process(pid))
            for what, index, ready in zip(("a build", "", "a boot", "an experiment"), count(5), READY, strict=False):
                if ready is None:
                    opened.run(index)
                else:
                    seconds = opened.stopped(index, ready)
                    yield Figure(f"from Stop to the end of the cell, {what}", "1 s", f"{seconds * 1000:.0f} ms",
                                 {"seconds": seconds})
        finally:
            chromium.close()
            server.stop()


def watched(book: Any, journal: Path, recorded: list[bytes], kernel: psutil.Process) -> Iterator[Figure]:
    """What a dashboard costs that follows a journal which gets a sample twice a second, in the browser, in Jupyter's
    server and in the kernel, beyond what the same page costs while it is out of view, and still."""
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

    server = psutil.Process(book.server.process.pid)
    show = """display => (document.querySelectorAll(".jp-Notebook .jp-Cell")[4].querySelector(".unibeam-face")
        .style.display = display)"""
    book.page.evaluate(show, "none")
    time.sleep(5)
    still = spent_in(WATCHED_S, kernel, server)
    book.page.evaluate(show, "")
    threading.Thread(target=grow, daemon=True).start()
    time.sleep(3)
    live = spent_in(WATCHED_S, kernel, server)
    over_now.set()
    dots = book.cell(4).locator("svg[role=img]").get_attribute("data-dots")
    more = {name: max(live[name] - still[name], 0.0) / WATCHED_S for name in live}
    yield Figure(f"live chart, two samples a second, {dots} dots at the end, beyond the same page without it",
                 "5 % of a core", f"{sum(more.values()):.1%} "
                 f"({', '.join(f'{part:.1%} the {name}' for name, part in more.items())})",
                 {"live_cpu_s": live, "still_cpu_s": still, "seconds": WATCHED_S})


def main(words: list[str]) -> None:
    browser = "--no-browser" not in words
    if browser and shutil.which("chromium") is None:
        sys.exit("face: there is no chromium here. Run scripts/setup.sh --browser, or add --no-browser.")
    figures = [*imports(), *sizes(), *(in_browser() if browser else ())]
    if "--write" in words:
        write("face", figures)
    print(table(figures))


if __name__ == "__main__":
    main(sys.argv[1:])
