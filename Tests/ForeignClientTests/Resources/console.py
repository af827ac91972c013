#!/usr/bin/env python3
"""Looks at the web console with a real browser: one line per check, and exit code 1 when one fails.

    console.py URL [--large URL] [--count 10000] [--restart] [--screenshots FOLDER] ...

URL is a server with the simulated devices sensor-1, connected, and pump-1, which was connected and has gone. --large is a
server with very many devices. With --restart the script prints "restart?", waits for a line on standard input, and expects
that the server was restarted in between. It needs selenium, Chromium with its driver, and the file axe.min.js of axe-core.
"""

import base64
import os
import sys
import time

from selenium.common.exceptions import WebDriverException
from selenium.webdriver.common.keys import Keys
from urllib3.exceptions import HTTPError

from console_browser import SIZES, VIEWS, LIMIT, MARKUP, Browser, Failure, arguments, axe_source


class Checks:
    """All checks, by their names in the order in which they run."""

    def __init__(self, browser, options, axe):
        self.browser, self.options, self.axe = browser, options, axe
        self.base = options.url.rstrip("/") + "/"
        self.device = f"#/devices/{options.device}"

    def all(self):
        yield "first picture and size of the first view", self.first
        yield "a call that succeeds is green", self.green
        yield "a call that fails is red", self.red
        yield "an offline device is amber", self.amber
        yield "params are checked", self.validation
        yield "the call as curl and as Swift", self.code
        yield "a call opens to its timeline and can be repeated", self.timeline
        yield "what a device sends is no markup", self.markup
        yield f"a text of {self.options.text} characters", self.long_text
        yield "panels are kept by the server", self.panels
        yield "each kind of panel works", self.kinds
        yield "from opening to the result with the keyboard", self.keyboard
        yield "back and reload", self.history
        yield "the feed shows calls and can be paused", self.feed
        if self.options.registered:
            yield "a device is disabled and enabled, and its key is rotated", self.access
        if self.options.large:
            yield f"{self.options.count} devices", self.many
        for theme in ("light", "dark"):
            for name, _ in VIEWS:
                yield f"axe: {name}, {theme}", lambda name=name, theme=theme: self.accessible(name, theme)
        yield "no view is wider than 360 pixels", self.narrow
        yield "no error in the console, no violation of the policy", self.clean
        yield "no request to another origin", self.origins
        yield "the size of everything", self.weight
        if self.options.screenshots:
            yield "pictures", self.pictures
        if self.options.restart:
            yield "the server is restarted", self.restart

    # The form

    def show(self, device=None):
        name = device or self.options.device
        self.browser.go(f"#/devices/{name}", name)
        self.browser.wait("the form", "return document.querySelector('#method') !== null")

    def fill(self, method, *params):
        """Fills the form: params are pairs of a type and a text."""
        browser = self.browser
        browser.run("[...document.querySelectorAll('.call-form button')].find(b => b.textContent === 'Clear').click();"
                    "const m = document.querySelector('#method'); m.value = arguments[0]; m.dispatchEvent(new Event('input', {bubbles: true}))", method)
        for kind, text in params:
            browser.run("""
                [...document.querySelectorAll('.params-set > button')][0].click();
                const row = document.querySelector('.params li:last-child');
                const type = row.querySelector('select');
                type.value = arguments[0]; type.dispatchEvent(new Event('change', {bubbles: true}));
                const control = row.querySelector('.value > *');
                control.value = arguments[1]; control.dispatchEvent(new Event('input', {bubbles: true}))""", kind, text)

    def submit(self):
        self.browser.run("document.querySelector('.answer')?.remove(); document.querySelector('.call-form button[type=submit]').click()")

    def answer(self, outcome, deadline=None):
        """Waits for a result of this outcome, and returns its text."""
        return self.browser.wait(f"a result that is {outcome}", f"return document.querySelector('.answer.is-{outcome}')?.innerText",
                                 deadline=deadline)

    def call(self, outcome, method, *params, deadline=None):
        self.fill(method, *params)
        self.submit()
        return self.answer(outcome, deadline)

    @staticmethod
    def expect(text, *parts):
        for part in parts:
            if part not in text:
                raise Failure(f"{part!r} is not in {text[:300]!r}")

    def row(self, outcome, *parts):
        """Waits for a row of this outcome with these texts in the list of calls."""
        self.browser.wait(f"a row that is {outcome} with {parts}",
                          "return [...document.querySelectorAll('.calls > .is-' + arguments[0])]"
                          ".some(row => arguments[1].every(part => row.innerText.includes(part)))", outcome, list(parts))

    def colour(self, selector):
        """The hue of the badge in an element: green, red or amber."""
        values = self.browser.run("const c = document.createElement('canvas').getContext('2d');"
                                  "c.fillStyle = getComputedStyle(document.querySelector(arguments[0])).color; c.fillRect(0, 0, 1, 1);"
                                  "return [...c.getImageData(0, 0, 1, 1).data]", selector)
        red, green = values[0], values[1]
        return "green" if green > red else "red" if green < red * 0.5 else "amber"

    def expect_colour(self, name):
        seen = self.colour(".answer .badge")
        if seen != name:
            raise Failure(f"the badge is {seen}, not {name}")

    # Checks

    def first(self):
        self.browser.theme("light")
        self.browser.open(self.base + "#/")
        self.browser.wait("the live feed", "return document.querySelector('#link').dataset.state === 'live'")
        paint = self.browser.wait("the first picture", "return performance.getEntriesByName('first-contentful-paint')[0]?.startTime")
        if paint >= 1000:
            raise Failure(f"the first picture came after {paint:.0f} ms")
        return f"{paint:.0f} ms, {self.bytes():,} bytes"

    def bytes(self):
        return self.browser.run("const own = performance.getEntriesByType('resource').filter(e => e.name.includes('/console/'));"
                                "const page = performance.getEntriesByType('navigation')[0];"
                                "return [page, ...own].reduce((sum, e) => sum + (e.decodedBodySize || 0), 0)")

    def green(self):
        self.show()
        text = self.call("ok", "multiply", ("number", "7"), ("number", "191"))
        self.expect(text, "OK", "1337", "multiply(7, 191)")
        self.expect_colour("green")
        self.row("ok", "OK", "multiply(7, 191)", "1337")

    def red(self):
        self.show()
        self.expect(self.call("refused", "fail", ("number", "3"), ("text", "no such pin")), "Refused", "INVALID_ARGUMENT (3)", "no such pin")
        self.expect_colour("red")
        self.row("refused", "INVALID_ARGUMENT", "no such pin")

    def amber(self):
        self.show(self.options.offline)
        self.expect(self.call("notrun", "multiply", ("number", "1"), ("number", "2")), "Not run", "offline")
        self.expect_colour("amber")
        self.row("notrun", "Not run", "multiply(1, 2)")

    def validation(self):
        self.show()
        self.fill("echo", ("json", '{"pin": '))
        self.submit()
        self.browser.wait("an error at the field", "const c = document.querySelector('.params textarea');"
                          "return c.getAttribute('aria-invalid') === 'true' && document.activeElement === c"
                          " && document.getElementById(c.getAttribute('aria-describedby')).textContent.includes('JSON')")
        self.expect(self.call("ok", "echo", ("json", '{"pin": 4}'), ("null", ""), ("boolean", "false"), ("text", "7")), '"7"', "pin")
        self.row("ok", 'echo({"pin":4}, null, false, "7")')

    def code(self):
        self.show()
        self.fill("say", ("text", "it's $HOME"), ("json", '{"a": [1, null]}'))
        texts = self.browser.run("return [...document.querySelectorAll('.snippet code')].map(c => c.textContent)")
        self.expect(texts[0], "curl ", "--json '{\"method\":\"say\",\"params\":[\"it'\\''s $HOME\",{\"a\":[1,null]}]}'", f"/v1/devices/{self.options.device}/calls'")
        self.expect(texts[1], f'try await server.device("{self.options.device}").call("say", "it\'s $HOME", ["a": [1, nil]] as RPCValue)')

    def timeline(self):
        self.show()
        self.call("ok", "multiply", ("number", "6"), ("number", "7"))
        self.row("ok", "multiply(6, 7)")
        self.browser.run("[...document.querySelectorAll('.call-head')].find(head => head.innerText.includes('multiply(6, 7)')).click()")
        self.browser.wait("the timeline", "return document.querySelectorAll('.call-body .time-row rect').length >= 2")
        before = self.browser.run("return document.querySelectorAll('.calls > li').length")
        self.browser.run("[...document.querySelectorAll('.call-body button')].find(b => b.textContent === 'Call again').click()")
        self.browser.wait("another call", "return document.querySelectorAll('.calls > li').length > arguments[0]", before)
        self.browser.run("[...document.querySelectorAll('.call-body button')].find(b => b.textContent === 'Load into form').click()")
        self.browser.wait("the call in the form", "return document.querySelector('#method').value === 'multiply'"
                          " && document.querySelectorAll('.params li').length === 2")

    def markup(self):
        self.show()
        self.expect(self.call("ok", "echo", ("text", MARKUP)), "onerror")
        self.row("ok", "<img src=x")
        self.browser.run("document.querySelector('.call-head').click()")
        self.browser.go("#/feed", "Live feed")
        self.browser.wait("the event", "return [...document.querySelectorAll('.what')].some(c => c.textContent.includes('<img'))")
        if self.browser.run("return window.broken || document.querySelector('img[src=x]') !== null"):
            raise Failure("a text of the device has become markup")

    def long_text(self):
        self.show()
        # The server reads a body of a megabyte at most; what is too long for it is a failure of the caller of this script.
        self.call("ok", "echo", ("text", "x" * self.options.text), deadline=60)
        shown = self.browser.run("return document.querySelector('main').innerText.length")
        if shown > 60_000:
            raise Failure(f"{shown} characters are shown before they are asked for")
        begun = time.monotonic()
        self.browser.run("[...document.querySelectorAll('.answer button')].find(b => b.textContent.startsWith('Show all')).click()")
        self.browser.wait("the whole text", "return document.querySelector('.answer .long')?.textContent.length === arguments[0]", self.options.text)
        self.fill("multiply")
        return f"shown in {time.monotonic() - begun:.2f} s"

    def panels(self):
        self.show()
        self.browser.wait("the panels", "return document.querySelector('.panels-card').offsetParent !== null")
        before = self.browser.run("return document.querySelectorAll('.panel').length")
        self.browser.run("document.querySelector('.panels-card select').value = 'switch';"
                         "[...document.querySelectorAll('.panels-card button')].find(b => b.textContent === 'Add panel').click()")
        self.browser.wait("another panel", "return document.querySelectorAll('.panel').length === arguments[0] + 1", before)
        self.browser.run("[...document.querySelectorAll('.panel:last-child button')].find(b => b.textContent === 'Edit').click()")
        self.browser.wait("the dialog", "return document.querySelector('dialog[open]') !== null")
        self.browser.run("document.querySelector('dialog input').value = 'Relay'; document.querySelector('dialog form').requestSubmit()")
        self.browser.wait("the new title", "return document.querySelector('.panel:last-child h3').textContent === 'Relay'")
        self.browser.run("document.querySelector('.panel:last-child [role=switch]').click()")
        self.browser.wait("the switch on", "return document.querySelector('.panel:last-child [role=switch]').getAttribute('aria-checked') === 'true'")
        self.row("ok", "setValue(true)")
        self.browser.open(self.base + self.device)
        self.browser.wait("the panel after a reload", "return [...document.querySelectorAll('.panel h3')].some(t => t.textContent === 'Relay')")

    def kinds(self):
        """Adds panels, and uses each on the simulated device."""
        panel = "document.querySelector('.panel:last-child')"
        self.show()
        self.use("gpio", f"{panel}.querySelectorAll('.pin [role=switch]').length === 8",
                 f"{panel}.querySelectorAll('.pin [role=switch]')[2].click()", "setGpioStatus({")
        self.use("led", f"{panel}.querySelector('.word').textContent === 'on'",
                 f"[...{panel}.querySelectorAll('button')].find(b => b.textContent === 'Read').click()", "checkStatus()")
        self.use("slider", f"{panel}.querySelector('input[type=number]').value === '0'",
                 f"const n = {panel}.querySelector('input[type=number]'); n.value = '42'; n.dispatchEvent(new Event('change'))", "setState(42)")
        self.use("terminal", f"{panel}.querySelector('input') !== null",
                 f"{panel}.querySelector('input').value = 'echo {{\"a b\": [1]}} text'; {panel}.querySelector('form').requestSubmit()",
                 'echo({"a b":[1]}, "text")')
        self.browser.wait("the answer in the terminal", f"return {panel}.querySelector('.terminal-answer.is-ok')?.innerText.includes('a b')")
        self.browser.run(f"{panel}.querySelector('input').dispatchEvent(new KeyboardEvent('keydown', {{key: 'ArrowUp', bubbles: true}}))")
        self.expect(self.browser.run(f"return {panel}.querySelector('input').value"), "echo ")

    def use(self, kind, ready, act, row):
        count = self.browser.run("return document.querySelectorAll('.panel').length")
        self.browser.run("document.querySelector('.panels-card select').value = arguments[0];"
                         "[...document.querySelectorAll('.panels-card button')].find(b => b.textContent === 'Add panel').click()", kind)
        self.browser.wait(f"a panel {kind}", "return document.querySelectorAll('.panel').length === arguments[0] + 1", count)
        self.browser.wait(f"the state in the panel {kind}", f"return {ready}")
        self.browser.run(act)
        self.row("ok", row)

    def keyboard(self):
        self.browser.open(self.base + "#/devices")
        self.browser.wait("the list", "return document.querySelectorAll('.space .grid-row').length > 0")
        # Chromium takes the first key only where the page has the focus.
        self.tab_to("return document.activeElement.id === 'device-search'")
        self.browser.active().send_keys(self.options.device)
        self.tab_to("return document.activeElement.getAttribute('role') === 'grid'")
        self.browser.active().send_keys(Keys.ARROW_DOWN)
        self.browser.wait("an active row", "const id = document.activeElement.getAttribute('aria-activedescendant');"
                          "return id && document.getElementById(id).innerText.includes(arguments[0])", self.options.device)
        self.browser.active().send_keys(Keys.ENTER)
        self.browser.wait("the focus on the heading", "return document.activeElement.tagName === 'H1' && document.activeElement.textContent === arguments[0]",
                          self.options.device)
        self.tab_to("return document.activeElement.id === 'method'")
        self.browser.run("document.activeElement.select()")
        self.browser.active().send_keys("multiply")
        for text in ("7", "191"):
            self.tab_to("return document.activeElement.textContent === 'Add param'")
            self.browser.active().send_keys(Keys.ENTER)
            self.browser.active().send_keys(text)
        self.browser.active().send_keys(Keys.ENTER)
        self.expect(self.answer("ok"), "1337")
        self.browser.wait("what a screen reader says", "return document.querySelector('#live').textContent.includes('1337')")

    def tab_to(self, script):
        for _ in range(60):
            if self.browser.run(script):
                return
            self.browser.active().send_keys(Keys.TAB)
        raise Failure(f"the Tab key does not lead to: {script}")

    def history(self):
        self.browser.go("#/devices", "Devices")
        self.browser.go("#/feed", "Live feed")
        self.browser.run("history.back()")
        self.browser.wait("the view before", "return document.querySelector('main h1').textContent === 'Devices'")
        self.browser.run("history.forward()")
        self.browser.wait("the view after", "return document.querySelector('main h1').textContent === 'Live feed'")
        self.browser.driver.refresh()
        self.browser.wait("the same view", "return document.querySelector('main h1')?.textContent === 'Live feed'")

    def feed(self):
        self.browser.go("#/feed", "Live feed")
        self.browser.wait("the live feed", "return document.querySelector('#link').dataset.state === 'live'")
        self.show()
        self.call("ok", "multiply", ("number", "2"), ("number", "21"))
        self.browser.go("#/feed", "Live feed")
        self.browser.wait("the event", "return [...document.querySelectorAll('.what')].some(c => c.textContent.includes('multiply(2, 21) OK'))")
        press = "[...document.querySelectorAll('.toolbar button')].find(b => b.textContent === arguments[0]).click()"
        self.browser.run(press, "Pause")
        self.browser.run("const headers = {'Content-Type': 'application/json', ...(arguments[1] && {Authorization: 'Bearer ' + arguments[1]})};"
                         "fetch('v1/devices/' + arguments[0] + '/calls', {method: 'POST', headers, body: '{\"method\": \"held\"}'})",
                         self.options.device, self.options.api_key)
        self.browser.wait("the number of held events", "return /paused, [1-9]/.test(document.querySelector('[role=status]').textContent)")
        if self.browser.run("return [...document.querySelectorAll('.what')].some(c => c.textContent.includes('held'))"):
            raise Failure("a paused feed shows new events")
        self.browser.run(press, "Resume")
        self.browser.wait("the held event", "return [...document.querySelectorAll('.what')].some(c => c.textContent.includes('held'))")

    def access(self):
        """Changes a device of the store, each time after a confirmation."""
        self.show(self.options.registered)
        card = "document.querySelector('.access')"

        def press(label, confirmed):
            self.browser.wait(f"a button {label}", f"return [...{card}.querySelectorAll('button')].find(b => b.textContent === arguments[0])?.click()"
                              " ?? document.querySelector('dialog[open]') !== null", label)
            self.browser.run("[...document.querySelectorAll('dialog[open] button')].find(b => b.textContent === arguments[0]).click()", confirmed)

        def shows(text):
            self.browser.wait(f"the text {text}", f"return {card}.innerText.includes(arguments[0])", text)

        shows("Pre-shared key")
        press("Disable…", "Cancel")
        shows("It may connect.")
        press("Disable…", "Disable")
        shows("It may not connect.")
        press("Enable…", "Enable")
        shows("It may connect.")
        press("Rotate…", "Rotate")
        secret = self.browser.wait("the new key", "return document.querySelector('dialog[open] .secret code')?.textContent")
        if len(secret) != 32:
            raise Failure(f"the new key is {secret!r}")
        self.browser.run("[...document.querySelectorAll('dialog[open] button')].find(b => b.textContent === 'Done').click()")
        shows("rotated")
        # The dialog with it is removed a moment after it was closed.
        self.browser.wait("the page without the key", "return !document.documentElement.outerHTML.includes(arguments[0])", secret)

    def many(self):
        count = f"{self.options.count:,}"
        self.browser.open(self.options.large.rstrip("/") + "/#/devices")
        self.browser.wait("all devices", "return document.querySelector('.view-head [role=status]').textContent.startsWith(arguments[0] + ' of ')"
                          " && !document.querySelector('.view-head [role=status]').textContent.includes('loading')", count, deadline=60)
        rows = self.browser.run("return [document.querySelector('[role=grid]').getAttribute('aria-rowcount'), document.querySelectorAll('.space .grid-row').length]")
        if rows[0] != str(self.options.count + 1) or rows[1] > 100:
            raise Failure(f"aria-rowcount is {rows[0]}, and {rows[1]} rows are elements")
        longest = self.browser.driver.execute_async_script("""
            const done = arguments[0], grid = document.querySelector('[role=grid]');
            let longest = 0, last = performance.now(), step = 0;
            const next = () => {
                const now = performance.now();
                longest = Math.max(longest, now - last); last = now;
                grid.scrollTop = grid.scrollHeight * (++step / 60);
                if (step < 60) requestAnimationFrame(next); else done(longest);
            };
            requestAnimationFrame(next)""")
        self.browser.wait("the last row", "return [...document.querySelectorAll('.space .grid-row')]"
                          ".some(row => row.getAttribute('aria-rowindex') === arguments[0])", str(self.options.count + 1))
        name = self.browser.run("return document.querySelector('.space .grid-row:last-child .name').textContent")
        self.browser.run("const s = document.querySelector('#device-search'); s.value = arguments[0]; s.dispatchEvent(new Event('input', {bubbles: true}))", name)
        self.browser.wait("the one that was searched", "return document.querySelectorAll('.space .grid-row').length >= 1"
                          " && document.querySelector('.space .grid-row .name').textContent === arguments[0]", name)
        return f"the longest frame took {longest:.0f} ms"

    def look(self, name, theme):
        """Shows a view with something in it."""
        hash_ = dict(VIEWS)[name].format(device=self.options.device)
        self.browser.theme(theme)
        # Without the page that may have been there before.
        if not self.browser.driver.current_url.startswith(self.base):
            self.browser.open(self.base + "#/")
        if name == "device":
            self.show()
            self.call("ok", "multiply", ("number", "7"), ("number", "191"))
            self.row("ok", "multiply(7, 191)")
            self.browser.run("if (!document.querySelector('.call-head[aria-expanded=true]')) document.querySelector('.call-head').click()")
        else:
            self.browser.go(hash_)

    def accessible(self, name, theme):
        self.look(name, theme)
        self.browser.run(self.axe + "\nwindow.axe = axe")
        result = self.browser.driver.execute_async_script("const done = arguments[0];"
                                                          "axe.run(document).then(done, error => done({error: String(error)}))")
        if "error" in result:
            raise Failure(result["error"])
        serious = [one for one in result["violations"] if one["impact"] in ("serious", "critical")]
        if serious:
            raise Failure("; ".join(f"{one['id']}: {one['nodes'][0]['html'][:120]} ({one['nodes'][0]['failureSummary'][:160]})" for one in serious))
        rest = ", ".join(one["id"] for one in result["violations"])
        return f"minor: {rest}" if rest else ""

    def narrow(self):
        self.browser.cdp("Emulation.setDeviceMetricsOverride", width=360, height=740, deviceScaleFactor=1, mobile=True)
        try:
            for name, _ in VIEWS:
                self.look(name, "light")
                width = self.browser.run("return document.documentElement.scrollWidth")
                if width > 360:
                    raise Failure(f"{name} is {width} pixels wide")
        finally:
            self.browser.size("desktop")

    def clean(self):
        errors = self.browser.errors()
        if errors:
            raise Failure(" | ".join(errors)[:600])

    def origins(self):
        self.browser.collect()
        own = [url.rstrip("/") for url in (self.options.url, self.options.large) if url]
        foreign = [url for url in self.browser.hosts if not url.startswith(tuple(own) + ("about:", "data:", "chrome:", "chrome-error:"))]
        if foreign:
            raise Failure(", ".join(foreign)[:300])

    def weight(self):
        # A page of its own, which shows each view once.
        self.browser.open(self.base + "#/")
        for name, _ in VIEWS:
            self.look(name, "light")
        total = self.bytes()
        if total >= LIMIT:
            raise Failure(f"{total:,} bytes")
        return f"{total:,} bytes"

    def pictures(self):
        os.makedirs(self.options.screenshots, exist_ok=True)
        try:
            for size in SIZES:
                self.browser.size(size)
                for theme in ("light", "dark"):
                    for name, _ in VIEWS:
                        self.look(name, theme)
                        # The charts are drawn each second.
                        self.browser.wait("two frames", "return new Promise(done => setTimeout(() => done(true), 1200))")
                        data = self.browser.cdp("Page.captureScreenshot", format="png")["data"]
                        with open(os.path.join(self.options.screenshots, f"{name}-{size}-{theme}.png"), "wb") as file:
                            file.write(base64.b64decode(data))
        finally:
            self.browser.size("desktop")
            self.browser.theme("light")

    def restart(self):
        self.show()
        self.fill("half-typed", ("text", "not lost"))
        print("restart?", flush=True)
        if not sys.stdin.readline():
            raise Failure("nobody said that the server was restarted")
        self.browser.wait("the connection", "return document.querySelector('#link').dataset.state === 'live' && document.querySelector('#banner').hidden", deadline=60)
        kept = self.browser.run("return [document.querySelector('#method').value, document.querySelector('.params input').value]")
        if kept != ["half-typed", "not lost"]:
            raise Failure(f"what was typed is {kept}")
        # The device comes back by itself, at the latest 20 s after the server.
        self.browser.wait("the device", "return document.querySelector('.view-head .badge')?.textContent === 'observing'", deadline=60)
        self.expect(self.call("ok", "multiply", ("number", "7"), ("number", "191")), "1337")


def main():
    options = arguments(__doc__)
    axe = axe_source(options.axe)
    browser = Browser(options)
    failed = 0
    try:
        for name, check in Checks(browser, options, axe).all():
            try:
                note = check()
                print(f"ok {name}" + (f" ({note})" if note else ""), flush=True)
            except (Failure, WebDriverException, HTTPError, KeyError, IndexError, TypeError) as error:
                failed += 1
                print(f"not ok {name}: {type(error).__name__ if not isinstance(error, Failure) else ''} {' '.join(str(error).split())[:700]}", flush=True)
    finally:
        browser.driver.quit()
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
