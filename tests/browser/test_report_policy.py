"""A report that somebody has put a script into, in a real browser: the page's own policy lets none of it run."""

from __future__ import annotations

import importlib.util
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import ModuleType

import pytest
from playwright.sync_api import Browser

from unibeam_nb.analysis.report import write_report

POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; form-action 'none'; base-uri 'none'"

ADDED = """<script>window.ran = 'script'</script>
<script src="URL/script.js"></script>
<img src="URL/seen.png" onerror="window.ran = 'handler'"><svg onload="window.ran = 'svg'"></svg>
<iframe src="URL/frame.html"></iframe><object data="URL/object"></object>
<link rel="stylesheet" href="URL/style.css"><style>@import 'URL/more.css'; body { background: url(URL/bg.png) }</style>
<a id="go" href="javascript:void(window.ran = 'link')">here</a>
<form id="form" action="URL/form"><input name="x" value="y"></form></body>"""


def of_the_unit_tests() -> ModuleType:
    """The module that has an experiment for reports."""
    path = Path(__file__).parents[1] / "unit" / "test_report.py"
    found = importlib.util.spec_from_file_location("experiment_for_reports", path)
    assert found is not None
    assert found.loader is not None
    module = sys.modules["experiment_for_reports"] = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module


@pytest.fixture
def listener() -> Iterator[tuple[str, list[str]]]:
    """Somebody who would like to know who reads the page."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"window.ran = 'fetched'")

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}", asked
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize("policy", [True, False])
def test_a_script_in_a_report_does_not_run(policy: bool, browser: Browser, listener: tuple[str, list[str]],
                                           tmp_path: Path) -> None:
    url, asked = listener
    path = write_report(of_the_unit_tests().experiment(tmp_path), tmp_path / "report.html")
    text = path.read_text(encoding="utf-8")
    assert POLICY in text
    changed = text.replace("</body>", ADDED.replace("URL", url))
    path.write_text(changed if policy else changed.replace(POLICY, ""), encoding="utf-8")
    page = browser.new_page()
    try:
        page.goto(path.as_uri())
        page.locator("#go").click()
        page.evaluate("document.getElementById('form').submit()")
        page.wait_for_timeout(500)
        ran = None if page.url.startswith(url) else page.evaluate("window.ran ?? null")
    finally:
        page.close()
    if policy:
        assert (ran, asked) == (None, [])
    else:
        # Without its policy the page would do all of that: the test can see it.
        assert "/script.js" in asked
        assert "/form?x=y" in asked
