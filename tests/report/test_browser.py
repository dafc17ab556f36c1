"""The report in headless Chromium, as a reader uses it."""

import time

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from lds.cli import app
from lds.estimators.evidence import evidence_of
from lds.report.page import write_report
from lds.run_folder import load_run
from tests.browser import chromium

pytestmark = pytest.mark.ci


@pytest.fixture(scope="module")
def browser(run_folder, tmp_path_factory):
    folder = tmp_path_factory.mktemp("browser")
    write_report(run_folder, folder / "run.html")
    with chromium(folder / "profile") as driver:
        driver.get((folder / "run.html").as_uri())
        yield driver


@pytest.fixture(scope="module")
def run(run_folder):
    return load_run(run_folder)


def text(browser, selector):
    return browser.find_element("css selector", selector).text


def picture(browser):
    return browser.find_element("id", "picture").get_attribute("innerHTML")


def search(browser, node):
    field = browser.find_element("id", "node")
    field.clear()
    field.send_keys(f"{node}\n")


def test_it_opens_without_a_word_in_the_console(browser):
    assert browser.get_log("browser") == []
    assert browser.execute_script("return typeof window.hurt") == "undefined"
    assert "pets.csv" in text(browser, "h1")
    assert len(browser.find_elements("css selector", "figure svg")) == 7
    width, window = browser.execute_script(
        "return [document.documentElement.scrollWidth, innerWidth]"
    )
    assert width <= window, "nothing sticks out at the side"


def test_the_search_finds_a_node_and_the_picture_changes(browser, run):
    search(browser, 17)
    before = picture(browser)
    search(browser, 40)
    assert text(browser, "#about").startswith("Node 40,")
    assert picture(browser) != before
    likely = run.edge_probs[[40]].toarray()[0]
    rows = browser.find_elements("css selector", "#edges tbody tr")
    assert len(rows) == min(16, (likely > 0).sum())
    assert int(rows[0].find_element("tag name", "button").text) == likely.argmax()
    before, after = rows[0].find_elements("tag name", "td")[1].text.split(" → ")
    assert float(after.rstrip(" %")) == pytest.approx(100 * likely.max(), abs=0.5)
    start = run.start[[40]].toarray()[0][likely.argmax()]
    assert float(before.rstrip(" %")) == pytest.approx(100 * start, abs=0.5)
    assert browser.get_log("browser") == []


def test_a_click_moves_to_a_neighbour_and_back(browser):
    search(browser, 17)
    neighbour = browser.find_element("css selector", "#picture .node")
    number = neighbour.find_element("css selector", "text").get_attribute("textContent")
    before = picture(browser)
    browser.execute_script(
        "arguments[0].dispatchEvent(new MouseEvent('click', {bubbles: true}))", neighbour
    )
    assert text(browser, "#about").startswith(f"Node {number},")
    assert picture(browser) != before
    browser.find_element("id", "back").click()
    assert text(browser, "#about").startswith("Node 17,")
    assert picture(browser) == before
    neighbour = browser.find_element("css selector", "#picture .node")
    neighbour.send_keys("\ue007")  # Enter, from the keyboard
    assert text(browser, "#about").startswith(f"Node {number},")


@pytest.mark.parametrize("asked", ["90", "-1", "x", "1e1"])
def test_a_node_that_is_not_there_is_said_so(browser, asked):
    search(browser, 3)
    search(browser, asked)
    assert f"There is no node “{asked}”; nodes are 0 to 89." in text(browser, "#problem")
    assert text(browser, "#about").startswith("Node 3,")


def test_it_is_dark_where_the_reader_wants_it(browser):
    ask = "const s = getComputedStyle(document.body); return [s.backgroundColor, s.color]"
    looks = {}
    for scheme in ("light", "dark"):
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
        looks[scheme] = browser.execute_script(ask)
    assert looks["light"] != looks["dark"]
    title = browser.execute_script(
        "return getComputedStyle(document.querySelector('#learning text')).fill"
    )
    assert title == looks["dark"][1], "the pictures' text follows the page"


def test_a_link_opens_its_row_and_the_address_follows(browser):
    search(browser, 17)
    assert browser.current_url.endswith("#row=17")
    browser.get(browser.current_url.replace("#row=17", "#row=41"))
    assert text(browser, "#about").startswith("Node 41,")
    browser.refresh()
    assert text(browser, "#about").startswith("Node 41,")


def test_unsure_rows_are_listed_sorted_and_opened(browser, run):
    confidence = run.predictions["probabilities"].max(1)
    rows = browser.find_elements("css selector", "#unsure-rows tbody tr")
    assert len(rows) == 50
    first = rows[0].find_element("tag name", "button")
    least = int(first.get_attribute("textContent"))
    assert confidence[least] == pytest.approx(confidence.min(), abs=1e-4)
    first.click()
    assert text(browser, "#about").startswith(f"Node {least},")
    by_row = browser.find_element("css selector", "#unsure-rows [data-key=row]")
    for descending in (False, True):
        by_row.click()
        cells = browser.find_elements("css selector", "#unsure-rows tbody button")
        numbers = [int(cell.get_attribute("textContent")) for cell in cells]
        assert numbers == sorted(numbers, reverse=descending)
    assert browser.get_log("browser") == []


@pytest.mark.slow
@pytest.mark.data
def test_cora_opens_in_three_seconds_and_is_under_ten_megabytes(shared_data, tmp_path):
    run, page = tmp_path / "run", tmp_path / "cora.html"
    options = "--max-iter 3 --max-inner 40 --refit-steps 4 --no-controls --quiet --retain 0.25"
    arguments = ["fit", "cora", "--root", str(shared_data), *options.split(), "--out", str(run)]
    assert CliRunner().invoke(app, arguments).exit_code == 0
    write_report(run, page)
    assert page.stat().st_size < 10e6
    with chromium(tmp_path / "profile") as driver:
        driver.get("about:blank")
        begun = time.perf_counter()
        driver.get(page.as_uri())
        assert time.perf_counter() - begun < 3
        assert driver.get_log("browser") == []
        assert driver.find_element("id", "about").text.startswith("Node ")


@pytest.mark.parametrize("width", [400, 1200])
def test_names_of_settings_stay_whole_on_any_screen(browser, width):
    screen = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)
    browser.execute_script("document.querySelector('#settings details').open = true")
    names = browser.execute_script(
        "return [...document.querySelectorAll('#settings tbody th')].map(th => "
        "[th.textContent, th.getBoundingClientRect().width, th.getBoundingClientRect().height])"
    )
    assert len(names) > 20
    for name, wide, high in names:
        assert wide >= 100, name
        assert high <= 90, f"{name} is over three lines"
    side = "return document.documentElement.scrollWidth <= innerWidth"
    assert browser.execute_script(side), "nothing sticks out at the side"
    browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def cells_of(browser, table):
    script = (
        f"return [...document.querySelectorAll('#{table} tbody tr')]"
        ".map(row => [...row.children].map(cell => cell.textContent))"
    )
    return browser.execute_script(script)


def test_a_row_says_why_it_got_its_class(browser, run, run_folder):
    search(browser, 40)
    assert text(browser, "#why-of").startswith("Node 40: predicted ")
    labels, predicted = run.predictions["labels"], run.predictions["probabilities"].argmax(1)
    shown = np.where(labels >= 0, labels, predicted)
    theta = run.edge_probs[[40]].toarray()[0]
    for name, start, learned in cells_of(browser, "votes"):
        c = run.settings["classes"].index(name)
        assert int(learned.rstrip(" %")) == pytest.approx(
            100 * theta[shown == c].sum() / theta.sum(), abs=0.51
        )
        assert start.endswith(" %")
    members = evidence_of(run_folder).account.members
    lines = cells_of(browser, "members")
    assert [line[0] for line in lines] == sorted(members, key=lambda name: -members[name][0])
    for name, _, kind, _ in lines:
        assert kind == run.settings["classes"][members[name][1][40].argmax()]
    assert browser.find_element("id", "members-box").is_displayed() == bool(members)
    assert len(cells_of(browser, "differences")) == 3
    values = dict(cells_of(browser, "cells"))
    table = pd.read_csv(run_folder.parent / "pets.csv")
    assert {name: float(value) for name, value in values.items()} == pytest.approx(
        table.loc[40, ["a", "b", "c"]].to_dict(), rel=1e-5
    )
    assert browser.get_log("browser") == []


def test_an_edge_of_the_whole_graph_opens_its_node(browser):
    button = browser.find_element("css selector", "#changes [data-node]")
    node = button.get_attribute("data-node")
    button.click()
    assert text(browser, "#about").startswith(f"Node {node},")
    assert len(browser.find_elements("css selector", "#changes table")) >= 4


@pytest.mark.parametrize("width", [400, 1200])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_new_sections_fit_any_screen(browser, width, scheme):
    screen = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
    side = "return document.documentElement.scrollWidth <= innerWidth"
    assert browser.execute_script(side), "nothing sticks out at the side"
    sizes = browser.execute_script(
        "return [...document.querySelectorAll('#why table, #changes table')]"
        ".filter(t => t.offsetParent).map(t => t.getBoundingClientRect().width)"
    )
    assert sizes
    assert min(sizes) > 200
    colours = browser.execute_script(
        "const s = getComputedStyle(document.querySelector('#why td'));"
        "return [s.color, getComputedStyle(document.querySelector('#why')).backgroundColor]"
    )
    assert colours[0] != colours[1]
    browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_rows_are_found_by_identifier_and_linked_by_it(tmp_path):
    lines = [f"P-{k:03},{k % 2 + k / 100},{'ab'[k % 2]}" for k in range(40)]
    (tmp_path / "t.csv").write_text("\n".join(["who,size,kind", *lines]), encoding="utf-8")
    options = "--target kind --id who --max-iter 1 --max-inner 5 --refit-steps 2 --n-neighbors 4"
    where = ["--no-controls", "--quiet", "--out", str(tmp_path / "run")]
    arguments = ["fit", str(tmp_path / "t.csv"), *options.split(), *where]
    assert CliRunner().invoke(app, arguments).exit_code == 0
    write_report(tmp_path / "run", tmp_path / "page.html")
    with chromium(tmp_path / "profile") as driver:
        driver.get((tmp_path / "page.html").as_uri() + "#row=P-017")
        assert text(driver, "#about").startswith("Node 17 (P-017),")
        search(driver, "P-023")
        assert text(driver, "#about").startswith("Node 23 (P-023),")
        assert driver.current_url.endswith("#row=P-023")
        assert driver.get_log("browser") == []
