"""The report in a headless browser: wide, narrow, dark and printed."""

from __future__ import annotations

import base64
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.examples.browser import CHROMIUM, Page, new_page
from tests.report.reports import run_hostile_job

pytestmark = [
    pytest.mark.slow,  # Each test starts a browser.
    pytest.mark.skipif(CHROMIUM is None, reason="needs Debian's package chromium"),
]
CHARTS = ["rows", "permits", "requests", "latency", "tokens", "lengths", "finish"]
DRAWN = "document.documentElement.dataset.charts"


@asynccontextmanager
async def open_report(folder: Path) -> AsyncGenerator[Page]:
    report = await run_hostile_job(folder / "job")
    async with new_page(folder / "profile") as page:
        for domain in ("Runtime", "Log", "Network"):
            await page.call(f"{domain}.enable")
        await page.open(report.as_uri())
        await page.wait_for(DRAWN)
        yield page


async def show(page: Page, width: int, scheme: str = "light") -> None:
    """Give the page a width and a colour scheme, and wait until it is drawn again."""
    await page.call(
        "Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=width < 500
    )
    feature = {"name": "prefers-color-scheme", "value": scheme}
    await page.call("Emulation.setEmulatedMedia", features=[feature])
    await page.run("await new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));")


async def colour_of_ticks(page: Page) -> str:
    return await page.run("return getComputedStyle(document.querySelector('#chart-rows .xtick text')).fill;")


async def test_charts_are_drawn_without_errors_and_without_a_request(tmp_path: Path) -> None:
    async with open_report(tmp_path) as page:
        for width in (1280, 390):
            await show(page, width)
            drawn = await page.run(
                "return [...document.querySelectorAll('.chart')].filter((chart) => chart.querySelector('.trace'))"
                ".map((chart) => chart.id.slice(6));"
            )
            assert drawn == CHARTS
            widths = await page.run(
                "const charts = [...document.querySelectorAll('.chart .main-svg')];"
                "return [document.documentElement.scrollWidth, Math.max(...charts.map((c) => c.getBoundingClientRect().right))];"
            )
            assert max(widths) <= width, "nothing is wider than the window"
        assert await page.run("return document.title;") == "out.jsonl: finished"  # No script of an answer has run.
        requests = [
            event["params"]["request"]["url"] for event in page.events if "requestWillBeSent" in event["method"]
        ]
        assert requests == [(tmp_path / "job" / "report.html").as_uri()]
        errors = ("Runtime.consoleAPICalled", "Runtime.exceptionThrown", "Log.entryAdded")
        assert [event for event in page.events if event["method"] in errors] == []


async def test_charts_follow_the_colour_scheme(tmp_path: Path) -> None:
    async with open_report(tmp_path) as page:
        await show(page, 1280, "light")
        light = await colour_of_ticks(page)
        await show(page, 1280, "dark")
        dark = await colour_of_ticks(page)
        assert (light, dark) == ("rgb(91, 102, 117)", "rgb(155, 167, 182)")


async def test_print_is_light_and_shows_all_samples(tmp_path: Path) -> None:
    async with open_report(tmp_path) as page:
        await show(page, 1280, "dark")
        await page.run("""
            addEventListener("beforeprint", () => {
                const ticks = getComputedStyle(document.querySelector('#chart-rows .xtick text')).fill;
                const open = [...document.querySelectorAll("details")].every((details) => details.open);
                window.printed = [ticks, open];
            });
        """)
        printed = await page.call("Page.printToPDF", printBackground=True, preferCSSPageSize=True)
        assert base64.b64decode(printed["data"]).startswith(b"%PDF")
        assert await page.run("return window.printed;") == ["rgb(91, 102, 117)", True]
        assert await colour_of_ticks(page) == "rgb(155, 167, 182)"
