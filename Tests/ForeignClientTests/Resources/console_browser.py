"""The browser of console.py, and what the checks ask of it."""

import argparse
import importlib.util
import json
import os
import socket
import time

from selenium import webdriver
from selenium.common.exceptions import JavascriptException, StaleElementReferenceException
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.keys import Keys
from urllib3.exceptions import HTTPError

VIEWS = [("overview", "#/"), ("devices", "#/devices"), ("device", "#/devices/{device}"), ("calls", "#/calls"), ("feed", "#/feed")]
SIZES = {"desktop": (1280, 800), "phone": (390, 844)}
MARKUP = '<img src=x onerror="window.broken=1"><script>window.broken=1</script>'
LIMIT = 150 * 1024


class Failure(Exception):
    """A check that did not hold."""


def arguments(description):
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("url", help="where the console is served")
    parser.add_argument("--large", help="a server with very many devices", default="")
    parser.add_argument("--count", help="how many those are", type=int, default=10_000)
    parser.add_argument("--device", default="sensor-1", help="a simulated device that is connected")
    parser.add_argument("--offline", default="pump-1", help="a device that is offline")
    parser.add_argument("--registered", default="", help="a device of the store with a key, which the API key may administer")
    parser.add_argument("--text", type=int, default=1_000_000, help="the length of the long text; the server needs --max-payload 1048576")
    parser.add_argument("--api-key", default="", help="the key that the console is given when it asks")
    parser.add_argument("--restart", action="store_true", help="ask for a restart of the server")
    parser.add_argument("--screenshots", default="", help="a folder for pictures of all views")
    parser.add_argument("--axe", default=os.environ.get("AXE", ""), help="axe.min.js; by default that of an installed package")
    parser.add_argument("--chromium", default=os.environ.get("CHROMIUM", "/usr/bin/chromium"))
    parser.add_argument("--driver", default=os.environ.get("CHROMEDRIVER", "/usr/bin/chromedriver"))
    parser.add_argument("--deadline", type=float, default=15, help="seconds that one thing may take to appear")
    return parser.parse_args()


def axe_source(path):
    """The text of axe-core, from a file or from the newest package that has one."""
    for package in ("axe_playwright_python", "axe_core_python"):
        if path:
            break
        # Found without being imported: the packages want a browser library that this script does not use.
        spec = importlib.util.find_spec(package)
        candidate = os.path.join(os.path.dirname(spec.origin), "axe.min.js") if spec and spec.origin else ""
        path = candidate if os.path.exists(candidate) else ""
    if not path:
        raise SystemExit("axe.min.js was not found; install axe-playwright-python (--no-deps), or give --axe")
    with open(path, encoding="utf-8") as file:
        return file.read()


class Browser:
    """A browser with one page, and what the checks ask of it."""

    def __init__(self, options):
        self.options = options
        chrome = Options()
        chrome.binary_location = options.chromium
        for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-background-networking",
                         "--disable-component-update", "--no-first-run"):
            chrome.add_argument(argument)
        chrome.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
        self.driver = self.start(chrome)
        self.driver.set_script_timeout(60)
        self.hosts = set()
        self.logs = []
        self.size("desktop")

    def start(self, chrome):
        # For everything that the driver is asked for: without it, one that hangs is waited for without end.
        socket.setdefaulttimeout(60)
        for attempt in (1, 2, 3):
            # Now and then the driver does not get its browser started, which says nothing about the page.
            service = Service(self.options.driver)
            try:
                return webdriver.Chrome(options=chrome, service=service)
            except HTTPError:
                service.stop()
                if attempt == 3:
                    raise

    def size(self, name):
        width, height = SIZES[name]
        self.cdp("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=name == "phone")

    def theme(self, name):
        self.cdp("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": name},
                                                         {"name": "prefers-reduced-motion", "value": "reduce"}])

    def cdp(self, command, **values):
        return self.driver.execute_cdp_cmd(command, values)

    def run(self, script, *values):
        return self.driver.execute_script(script, *values)

    def open(self, url):
        self.driver.get("about:blank")
        self.driver.get(url)
        self.wait("the page", "return document.querySelector('main h1') !== null || document.querySelector('dialog[open]') !== null")
        if self.options.api_key and self.run("return document.querySelector('dialog[open] input[type=password]') !== null"):
            self.driver.switch_to.active_element.send_keys(self.options.api_key, Keys.ENTER)
            self.wait("the dialog closed", "return document.querySelector('dialog[open]') === null")

    def go(self, hash_, title=None):
        self.run("location.hash = arguments[0]", hash_)
        self.wait(f"the view {hash_}", "return location.hash.replace(/^#$/, '#/') === arguments[0] && document.querySelector('main h1')"
                  " !== null && (!arguments[1] || document.querySelector('main h1').textContent === arguments[1])", hash_, title)

    def wait(self, what, script, *values, deadline=None):
        """Waits until a script returns something that is true, and returns that."""
        end = time.monotonic() + (deadline or self.options.deadline)
        while True:
            try:
                value = self.run(script, *values)
            except (JavascriptException, StaleElementReferenceException) as error:
                value, what = None, f"{what} ({str(error).splitlines()[0]})"
            if value:
                return value
            if time.monotonic() > end:
                raise Failure(f"{what} did not come")
            time.sleep(0.05)

    def active(self):
        return self.driver.switch_to.active_element

    def collect(self):
        """Takes the logs so far: what the console says, and which hosts were asked."""
        self.logs += self.driver.get_log("browser")
        for entry in self.driver.get_log("performance"):
            message = json.loads(entry["message"])["message"]
            if message["method"] == "Network.requestWillBeSent":
                self.hosts.add(message["params"]["request"]["url"].split("#")[0])

    def errors(self):
        """What the page has complained of. That the server answered 4xx or 5xx is no error of the page."""
        self.collect()
        bad = [entry["message"] for entry in self.logs
               if entry["level"] in ("SEVERE", "WARNING") and "the server responded with a status of" not in entry["message"]]
        self.logs = []
        return bad
