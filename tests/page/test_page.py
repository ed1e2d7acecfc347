"""The page in a real browser: readable by everyone, at every size, and by keyboard alone."""

import time
from importlib import resources
from pathlib import Path

import pytest
from conftest import PATIENCE, Tab, records

AXE = (resources.files("axe_playwright_python") / "axe.min.js").read_text()
SCREENS = {
    "runs": "/",
    "run": "/runs/r-1",
    "hostile run": "/runs/r-2",
    "results": "/runs/r-1/results?state=failed",
    "result": "/runs/r-1/results/5",
    "difference": "/runs/r-1/results/2",
    "notifiers": "/notifiers",
    "notifier": "/notifiers/2",
    "deliveries": "/deliveries",
    "dead": "/deliveries?state=dead",
    "delivery": "/deliveries/2",
    "hostile": "/deliveries/8",
    "actions": "/actions",
    "preview": "/notifiers/1/preview",
    "trends": "/trends",
    "nothing": "/deliveries?host=nobody",
    "problem": "/deliveries?state=open",
}
# What the documentation shows.
PICTURES = {
    "runs": "/",
    "run": "/runs/r-1",
    "result": "/runs/r-1/results/5",
    "difference": "/runs/r-1/results/2",
    "notifiers": "/notifiers",
    "notifier": "/notifiers/2",
    "deliveries": "/deliveries",
    "delivery": "/deliveries/2",
    "preview": "/notifiers/5/preview",
    "trends": "/trends",
    "actions": "/actions",
}


def violations(page):
    """What axe finds: rules and the elements that break them."""
    page.evaluate(AXE)
    found = page.evaluate("axe.run()")["violations"]
    return [(rule["id"], [node["html"][:200] for node in rule["nodes"]]) for rule in found]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [320, 375, 1280])
def test_every_screen_is_accessible_and_fits(tab, width, scheme):
    looking = tab(viewport={"width": width, "height": 800}, color_scheme=scheme)
    looking.open("/notifiers")
    assert looking.page.title() == "Sign in · ansible-notify"
    assert violations(looking.page) == []
    looking.sign_in()
    for name, path in SCREENS.items():
        looking.open(path)
        assert violations(looking.page) == [], name
        sizes = "[document.documentElement.scrollWidth, document.documentElement.clientWidth]"
        scrolled, shown = looking.page.evaluate(sizes)
        assert scrolled <= shown, name
        assert looking.page.locator("h1").count() == 1, name
        # What is pressed on a phone is as large as a finger.
        for control in looking.page.locator("nav a, button, select, input:visible").all():
            assert control.bounding_box()["height"] >= 44, (name, control.inner_text())
    # A reload of a wrong filter is answered with an error, which the browser notes.
    looking.complaints = [text for text in looking.complaints if "400" not in text]


def test_the_token_leaves_the_address_and_lasts(tab):
    looking = tab()
    looking.page.goto("%s/deliveries?state=dead#token=%s" % (looking.base, looking.token))
    looking.page.wait_for_selector("table")
    assert looking.page.url == looking.base + "/deliveries?state=dead"
    assert all(looking.token not in url for url in looking.requests[1:])
    looking.page.reload()
    looking.page.wait_for_selector("table")
    cookies = looking.context.cookies()
    assert [(cookie["httpOnly"], cookie["sameSite"]) for cookie in cookies] == [(True, "Strict")]
    assert looking.page.evaluate("document.cookie") == ""
    other = looking.context.new_page()
    other.goto(looking.base + "/notifiers")
    other.wait_for_selector("table")


def test_a_wrong_token_is_asked_for_again(tab):
    looking = tab()
    looking.page.goto(looking.base + "/#token=wrong")
    # The page that found out is loaded again.
    deadline = time.monotonic() + PATIENCE / 1000
    while looking.loads < 2:
        assert time.monotonic() < deadline
        looking.page.wait_for_timeout(50)
    field = looking.page.get_by_label("Token")
    field.fill(looking.token)
    field.press("Enter")
    looking.page.wait_for_selector("nav")
    assert looking.page.url == looking.base + "/"


def test_a_link_is_shown_after_signing_in(tab):
    looking = tab()
    looking.open("/runs/r-1/results?state=failed")
    for token in ["wrong", looking.token]:
        field = looking.page.get_by_label("Token")
        field.fill(token)
        field.press("Enter")
        looking.page.wait_for_load_state()
    looking.page.wait_for_selector("nav")
    assert looking.page.url == looking.base + "/runs/r-1/results?state=failed"


@pytest.mark.parametrize("width", [816, 1024, 1200])
def test_lists_are_tables_that_fit_unless_it_is_a_phone(tab, width):
    looking = tab(viewport={"width": width, "height": 800})
    looking.sign_in()
    for name, path in SCREENS.items():
        looking.open(path)
        rows = looking.page.locator(".cards tbody tr").all()
        displays = {row.evaluate("row => getComputedStyle(row).display") for row in rows}
        assert displays <= {"table-row"}, name
        sizes = "[document.documentElement.scrollWidth, document.documentElement.clientWidth]"
        scrolled, shown = looking.page.evaluate(sizes)
        assert scrolled <= shown, name
    looking.complaints = [text for text in looking.complaints if "400" not in text]


def test_without_a_script_everything_is_there(tab):
    looking = tab(java_script_enabled=False)
    looking.page.goto(looking.base + "/")
    looking.page.fill("[name=token]", looking.token)
    looking.page.click("button")
    looking.page.wait_for_selector("nav")
    looking.page.click("nav >> text=Deliveries")
    looking.page.fill("[name=host]", "web1")
    looking.page.select_option("[name=state]", "dead")
    looking.page.click("text=Show >> nth=0")
    looking.page.wait_for_selector("text=404 Not Found")
    assert "host=web1" in looking.page.url
    assert looking.page.locator("tbody tr").count() == 1
    assert looking.page.locator("tbody time").first.inner_text().endswith(" UTC")
    looking.page.click("tbody a >> nth=0")
    looking.page.wait_for_selector("pre")
    looking.page = looking.context.new_page()  # it answers no more questions without a script
    looking.page.close()


def test_by_keyboard_alone(tab):
    looking = tab()
    looking.sign_in()
    looking.open("/deliveries")
    page = looking.page
    focused = "document.activeElement.textContent.trim() || document.activeElement.name"
    order = []
    for _ in range(12):
        page.keyboard.press("Tab")
        order.append(page.evaluate(focused))
    assert order[:4] == ["Skip to the content", "ansible-notify", "Runs", "Notifiers"]
    assert order[8:] == ["notifier", "host", "task", "since"]
    page.keyboard.press("Shift+Tab")
    page.keyboard.press("Shift+Tab")
    page.keyboard.type("web1")
    page.keyboard.press("Enter")
    page.wait_for_url("**host=web1**")
    page.locator("a.skip").focus()
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"


def test_keys_move_between_rows_and_pages(tab):
    looking = tab()
    looking.sign_in()
    looking.open("/deliveries")
    page = looking.page
    focused = "document.activeElement.closest('tr')?.rowIndex ?? document.activeElement.name"
    page.keyboard.press("k")
    last = page.evaluate(focused)
    assert last == page.locator("tbody tr").count()
    page.keyboard.press("k")
    assert page.evaluate(focused) == last - 1
    page.locator("a.skip").focus()
    page.keyboard.press("j")
    page.keyboard.press("j")
    assert page.evaluate(focused) == 2
    path = page.evaluate("document.activeElement.pathname")
    page.keyboard.press("Enter")
    page.wait_for_url("**" + path)
    page.keyboard.press("Escape")
    page.wait_for_url("**/deliveries")
    page.keyboard.press("/")
    assert page.evaluate(focused) == "state"
    page.keyboard.press("Escape")
    page.focus("[name=host]")
    page.keyboard.type("jk/u")
    assert page.input_value("[name=host]") == "jk/u", "typing is not a command"
    page.keyboard.press("Escape")
    page.keyboard.press("?")
    page.keyboard.press("j")
    assert page.evaluate("document.activeElement.tagName") == "BODY"
    page.reload()
    page.keyboard.press("j")
    assert page.evaluate("document.activeElement.tagName") == "BODY", "that is remembered"
    page.keyboard.press("?")
    page.keyboard.press("j")
    assert page.evaluate(focused) == 1


def test_a_key_leads_to_the_button_that_retries(tab):
    looking = tab()
    looking.sign_in()
    looking.open("/notifiers/1")
    looking.page.keyboard.press("r")
    assert looking.page.evaluate("document.activeElement.textContent") == "Try now"
    looking.page.keyboard.press("Enter")
    looking.page.wait_for_selector("[role=status]:not(#live)")


@pytest.mark.parametrize("run", ["r-1", "r-2"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_report_is_accessible_and_fits(browser, control, tmp_path, scheme, run):
    report = tmp_path / "report.html"
    assert control.run("report", run, "--output", str(report)).returncode == 0
    context = browser.new_context(color_scheme=scheme)
    page = context.new_page()
    requests = []
    page.on("request", lambda request: requests.append(request.url))
    page.goto(report.as_uri())
    for width in [320, 375, 1280]:
        page.set_viewport_size({"width": width, "height": 800})
        sizes = "[document.documentElement.scrollWidth, document.documentElement.clientWidth]"
        scrolled, shown = page.evaluate(sizes)
        assert scrolled <= shown, width
        assert violations(page) == [], width
    assert requests == [report.as_uri()], "it needs nothing else"
    assert page.evaluate("typeof pwned") == "undefined"
    context.close()


def test_times_are_the_readers_own(tab):
    looking = tab(timezone_id="Asia/Tokyo")
    looking.sign_in()
    looking.open("/deliveries/1")
    shown = looking.page.locator("dd time").first
    utc, local = shown.get_attribute("title"), shown.inner_text()
    assert utc.endswith(" UTC")
    hours = int(local[11:13]) - int(utc[11:13])
    assert hours % 24 == 9
    assert local[13:] == utc[13:19]


def test_states_have_words_and_signs(tab):
    looking = tab()
    looking.sign_in()
    looking.open("/deliveries")
    states = set(looking.page.locator(".state").all_inner_texts())
    assert states == {"✓ delivered", "✗ dead", "… pending"}


def test_an_open_page_follows_a_run(tab, control):
    looking = tab()
    looking.sign_in()
    looking.open("/")
    page = looking.page
    beginning = records("r-live", "web9")
    assert page.locator("a[href='/runs/r-live']").count() == 0
    control.stream(*beginning[:6])
    page.wait_for_selector("a[href='/runs/r-live']")
    page.focus("a[href='/runs/r-1']")
    control.stream(*records("r-later"))
    page.wait_for_selector("a[href='/runs/r-later']")
    focused = page.evaluate("document.activeElement.getAttribute('href')")
    assert focused == "/runs/r-1", "it does not lose its place"
    page.wait_for_function("document.getElementById('live').textContent.startsWith('updated')")


def test_templates_are_tried_out_as_they_are_typed(tab):
    looking = tab()
    looking.sign_in()
    looking.open("/notifiers/1")
    page = looking.page
    page.click("text=Preview its messages")
    page.wait_for_selector("#message > *")
    body = page.get_by_label("body")
    body.fill('{"text": "{{ reason }}"}')
    page.wait_for_function(
        """() => document.getElementById("request").textContent.includes('{"text":"No package')"""
    )
    assert 'body = {"text": "{{ reason }}"}' in page.locator("#lines").text_content()
    body.fill('{"text":\n"{{ reason }"}')
    page.wait_for_function("() => document.getElementById('body-mistake').textContent !== ''")
    assert body.get_attribute("aria-invalid") == "true"
    body.fill('"{{ host }}"')
    page.wait_for_function("() => document.getElementById('body-mistake').textContent === ''")
    page.select_option("[name=about]", "own")
    own = page.get_by_label("Event as JSON").first
    own.fill('{"state": "failed", "host": "a-host-of-my-own"}')
    page.wait_for_function(
        "() => document.getElementById('request').textContent.endsWith('\"a-host-of-my-own\"')"
    )
    own.fill("{")
    page.wait_for_function(
        "() => document.getElementById('mistake').textContent.includes('not JSON')"
    )
    assert violations(page) == []


def test_a_mail_is_shown_in_a_frame_of_its_own(browser, showroom):
    looking = Tab(browser.new_context(), showroom.serve())
    looking.sign_in()
    looking.open("/notifiers/4/preview")
    frame = looking.page.frame_locator("iframe.mail")
    frame.locator("h3").wait_for()
    assert "install nginx" in frame.locator("h3").inner_text()
    border = "element => getComputedStyle(element.parentElement).borderLeftWidth"
    assert frame.locator("h3").evaluate(border) == "4px", "it keeps its own style"
    loaded = []
    looking.page.on("requestfinished", lambda request: loaded.append(request.url))
    looking.page.get_by_label("body").fill("<script>pwned=1</script><img src=/x><p id=own>own</p>")
    frame.locator("#own").wait_for()
    assert [url for url in loaded if url.endswith("/x")] == [], "it loads nothing"
    # The browser reports what it refused.
    looking.complaints = [text for text in looking.complaints if "Blocked script" not in text]
    looking.complaints = [text for text in looking.complaints if "Content Security" not in text]
    looking.check()
    looking.context.close()


def test_a_notifier_is_muted_and_unmuted(tab):
    looking = tab()
    looking.sign_in()
    looking.open("/notifiers/1")
    page = looking.page
    page.click("text=Mute…")
    page.get_by_label("Until").fill("25:00")
    page.get_by_label("Why").fill("we move the database")
    page.keyboard.press("Enter")
    page.wait_for_selector("[role=alert]")
    assert "Not muted: `until`: `25:00`" in page.locator("[role=alert]").inner_text()
    assert page.get_by_label("Why").input_value() == "we move the database"
    assert violations(page) == []
    page.get_by_label("Until").fill("2h")
    page.keyboard.press("Enter")
    page.wait_for_selector("text=Muted until")
    assert "we move the database" in page.locator("dl").inner_text()
    assert "muted" in page.locator("h1").inner_text()
    assert violations(page) == []
    looking.open("/notifiers")
    assert "we move the database" in page.locator("table").inner_text()
    looking.open("/notifiers/1")
    page.click("text=Unmute")
    page.wait_for_selector("text=no longer muted")
    assert page.locator("text=Muted until").count() == 0
    looking.open("/actions")
    assert "unmute" in page.locator("tbody tr").first.inner_text()


def test_a_bar_leads_to_the_runs_behind_it(tab):
    looking = tab()
    looking.sign_in()
    looking.open("/trends")
    page = looking.page
    bar = page.locator(".plot svg a").last
    assert "runs failed" in bar.get_attribute("aria-label")
    bar.focus()
    page.keyboard.press("Enter")
    page.wait_for_url("**state=failed**")
    assert page.locator("a[href='/runs/r-1']").count() == 1
    page.go_back()
    page.click("text=As a table >> nth=0")
    page.locator(".plot table").first.wait_for()


def test_pictures(browser, showroom, request):
    directory = request.config.getoption("--screenshots")
    context = browser.new_context(viewport={"width": 1280, "height": 720})
    looking = Tab(context, showroom.serve())
    looking.sign_in()
    for name, path in PICTURES.items():
        looking.open(path)
        if name == "preview":
            looking.page.wait_for_selector(".card")
        picture = looking.page.screenshot()
        assert picture.startswith(b"\x89PNG")
        assert len(picture) < 120_000, name
        if directory:
            (Path(directory) / (name + ".png")).write_bytes(picture)
    looking.check()
    context.close()
