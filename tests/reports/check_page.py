#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Drives a report (or the live page) in headless Chromium with the network off and says what a reader would stumble over.

    check_page.py runs/vbench-speedup/report.html [--most-seconds 2] [--screenshots FOLDER] [--chromium PATH]

Looked at: console errors and requests that leave the machine; contrast of every text against what lies behind it (WCAG 2.2 AA:
4.5, large text 3) in the light and the dark scheme; names of everything that can be operated; a visible focus on each stop of the
Tab key; a phone's width without sideways scrolling; print without controls; seconds until the page can be used. Exit code 0 when
nothing was found, 1 with a list, 3 without Chromium. Only the standard library is needed.
"""
import argparse
import base64
import json
import os
import pathlib
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
import time
import urllib.request

# In the page: every visible text with too little contrast. Colours behind a text are those of its ancestors, put over each other.
CONTRAST = r"""
(() => {
  const parse = text => { const n = (text.match(/[\d.]+/g) || []).map(Number); return n.length < 3 ? null : [n[0], n[1], n[2], n.length > 3 ? n[3] : 1]; };
  const over = (top, under) => [0, 1, 2].map(i => top[i] * top[3] + under[i] * (1 - top[3])).concat(1);
  const light = c => { const l = c.slice(0, 3).map(v => { v /= 255; return v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4; }); return 0.2126 * l[0] + 0.7152 * l[1] + 0.0722 * l[2]; };
  const behind = element => {
    const layers = [];
    for (let e = element; e; e = e.parentElement) {
      const c = parse(getComputedStyle(e).backgroundColor);
      if (c && c[3] > 0) { layers.push(c); if (c[3] === 1) break; }
    }
    return layers.reverse().reduce((under, top) => over(top, under), [255, 255, 255, 1]);
  };
  const found = [];
  const look = (element, colour, size, weight, text) => {
    const back = behind(element), front = over(colour, back);
    const a = light(front), b = light(back), ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    const large = size >= 24 || (size >= 18.66 && weight >= 700);
    if (ratio < (large ? 3 : 4.5) - 0.005) found.push(`${ratio.toFixed(2)}: "${text.trim().slice(0, 40)}" in <${element.tagName.toLowerCase()} class="${element.getAttribute('class') || ''}">`);
  };
  let looked = 0;
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let node = walker.nextNode(); node; node = walker.nextNode()) {
    const e = node.parentElement, style = e && getComputedStyle(e);
    if (!e || !node.data.trim() || ['SCRIPT', 'STYLE', 'NOSCRIPT', 'TITLE', 'DESC'].includes(e.tagName.toUpperCase())) continue;
    const box = e.getBoundingClientRect();
    if (style.visibility === 'hidden' || style.display === 'none' || !box.width || !box.height || box.right < 0 || e.closest('button:disabled, [aria-hidden="true"]')) continue;
    let opacity = 1;
    for (let p = e; p; p = p.parentElement) opacity *= Number(getComputedStyle(p).opacity);
    const drawn = e instanceof SVGElement, colour = parse(drawn ? style.fill : style.color);
    if (!colour) continue;
    colour[3] *= opacity * (drawn ? Number(style.fillOpacity) : 1);
    if (colour[3] === 0) continue;
    ++looked;
    look(e, colour, parseFloat(style.fontSize), Number(style.fontWeight) || 400, node.data);
  }
  return {looked, found: [...new Set(found)]};
})()
"""
# Charts are drawn as they come near the screen; print asks for all of them.
DRAW_ALL = r"""
(async () => {
  window.dispatchEvent(new Event('beforeprint'));
  for (let last = -1, same = 0; same < 3;) {
    await new Promise(done => setTimeout(done, 300));
    const now = document.querySelectorAll('.chart svg, .chart canvas').length;
    same = now === last ? same + 1 : 0;
    last = now;
  }
})()
"""
# Elements that reach over the screen's edge and are in no box that scrolls by itself, outermost first.
WIDEST = r"""
[...document.body.querySelectorAll('*')].filter(e => {
  if (e.getBoundingClientRect().right <= document.documentElement.clientWidth + 1) return false;
  for (let p = e.parentElement; p && p !== document.body; p = p.parentElement) if (getComputedStyle(p).overflowX !== 'visible') return false;
  return true;
}).slice(0, 4).map(e => `${e.tagName.toLowerCase()}.${e.getAttribute('class') || ''}#${e.id}`).join(', ')
"""
OPERATED = r"""
(() => {
  const stops = 'a[href], button, input, select, textarea, summary, video[controls], [tabindex]:not([tabindex="-1"])';
  const name = e => (e.getAttribute('aria-label') || e.getAttribute('title') || (e.labels && e.labels.length && e.labels[0].textContent)
                     || e.textContent || e.getAttribute('placeholder') || '').trim()
                    || (e.getAttribute('aria-labelledby') && 'labelled') || '';
  const shown = [...document.querySelectorAll(stops)].filter(e => e.getClientRects().length && !e.disabled);
  return {count: shown.length, nameless: shown.filter(e => !name(e)).map(e => e.outerHTML.slice(0, 100))};
})()
"""
FOCUS = r"""
(() => {
  const e = document.activeElement;
  if (!e || e === document.body) return null;
  const s = getComputedStyle(e), box = e.getBoundingClientRect();
  const ring = (s.outlineStyle !== 'none' && parseFloat(s.outlineWidth) > 0) || s.boxShadow !== 'none';
  return {what: e.outerHTML.slice(0, 80), ring, seen: box.width > 0 && box.height > 0, id: [...document.querySelectorAll('*')].indexOf(e)};
})()
"""


class Page:
    """A tab of Chromium, spoken to through its debugging socket."""

    def __init__(self, chromium, profile):
        self.process = subprocess.Popen(
            [chromium, "--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--remote-debugging-port=0", "--remote-allow-origins=*",
             "--allow-file-access-from-files", "--no-first-run", "--disable-background-networking", f"--user-data-dir={profile}", "about:blank"],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.messages, self.number = [], 0
        port = self.port(pathlib.Path(profile) / "DevToolsActivePort")
        tabs = json.load(urllib.request.urlopen(f"http://127.0.0.1:{port}/json/list"))
        self.socket = self.connect(next(tab for tab in tabs if tab["type"] == "page")["webSocketDebuggerUrl"])

    def port(self, file):
        for _ in range(1200):
            if file.exists() and file.read_text().strip():
                return int(file.read_text().split()[0])
            if self.process.poll() is not None:
                break
            time.sleep(0.05)
        raise RuntimeError("Chromium does not start")

    @staticmethod
    def connect(url):
        host, _, path = url[len("ws://"):].partition("/")
        name, _, port = host.partition(":")
        connection = socket.create_connection((name, int(port)), timeout=120)
        key = base64.b64encode(os.urandom(16)).decode()
        connection.sendall((f"GET /{path} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                            f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n").encode())
        answer = b""
        while b"\r\n\r\n" not in answer:
            answer += connection.recv(1)
        if b" 101 " not in answer:
            raise RuntimeError(answer.decode(errors="replace"))
        return connection

    def read(self, count):
        data = b""
        while len(data) < count:
            part = self.socket.recv(count - len(data))
            if not part:
                raise RuntimeError("Chromium has closed the connection")
            data += part
        return data

    def receive(self):
        text = b""
        while True:
            first, second = self.read(2)
            length = second & 127
            if length > 125:
                length = struct.unpack(">H" if length == 126 else ">Q", self.read(2 if length == 126 else 8))[0]
            text += self.read(length)
            if first & 128:
                return json.loads(text)

    def call(self, method, **parameters):
        self.number += 1
        data = json.dumps({"id": self.number, "method": method, "params": parameters}).encode()
        mask, size = os.urandom(4), len(data)
        head = bytes([129, 128 | size]) if size < 126 else bytes([129, 254]) + struct.pack(">H", size) if size < 65536 else bytes([129, 255]) + struct.pack(">Q", size)
        self.socket.sendall(head + mask + bytes(byte ^ mask[i % 4] for i, byte in enumerate(data)))
        while True:
            message = self.receive()
            if message.get("id") != self.number:
                self.messages.append(message)
                continue
            if "error" in message:
                raise RuntimeError(f"{method}: {message['error']}")
            return message["result"]

    def value(self, expression):
        result = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in result:
            raise RuntimeError(json.dumps(result["exceptionDetails"])[:400])
        return result["result"].get("value")

    def close(self):
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()


def open_page(page, address):
    """Seconds until the page has loaded, and until the charts on the first screen are drawn, by the page's own clock."""
    page.call("Page.navigate", url=address)
    for _ in range(1200):
        state = page.value("""({ready: document.readyState === 'complete',
            charts: [...document.querySelectorAll('.chart')].filter(c => c.getClientRects().length && c.getBoundingClientRect().top < innerHeight)
                .every(c => c.querySelector('svg, canvas')),
            now: performance.now(), loaded: (performance.getEntriesByType('navigation')[0] || {}).loadEventEnd || 0})""")
        if state["ready"] and state["loaded"] > 0 and state["charts"]:
            return state["loaded"] / 1000, state["now"] / 1000
        time.sleep(0.02)
    raise RuntimeError("the page's charts are not drawn within a minute")


def complaints_of(page):
    for message in page.messages:
        parameters = message.get("params", {})
        if message.get("method") == "Runtime.exceptionThrown":
            yield "console: " + json.dumps(parameters["exceptionDetails"])[:300]
        elif message.get("method") == "Runtime.consoleAPICalled" and parameters["type"] in ("error", "assert"):
            yield "console: " + json.dumps([argument.get("value") for argument in parameters["args"]])[:300]
        elif message.get("method") == "Log.entryAdded" and parameters["entry"]["level"] == "error":
            yield "console: " + parameters["entry"]["text"][:300]
        elif message.get("method") == "Network.requestWillBeSent" and not parameters["request"]["url"].startswith(("file:", "data:", "blob:", "http://127.0.0.1")):
            yield "request: " + parameters["request"]["url"][:200]


def tab_stops(page, most=60):
    """What is wrong with the first stops of the Tab key, and how many there are."""
    seen, wrong = set(), []
    for _ in range(most):
        for kind in ("keyDown", "keyUp"):
            page.call("Input.dispatchKeyEvent", type=kind, key="Tab", code="Tab", windowsVirtualKeyCode=9)
        at = page.value(FOCUS)
        if at is None or at["id"] in seen:
            break
        seen.add(at["id"])
        if not at["ring"] or not at["seen"]:
            wrong.append(f"focus: not to be seen on {at['what']}")
    return len(seen), wrong


def screenshot(page, folder, name):
    if folder:
        shot = page.call("Page.captureScreenshot", format="png", captureBeyondViewport=False)
        (folder / f"{name}.png").write_bytes(base64.b64decode(shot["data"]))


def check(page, address, options):
    found = []
    for domain in ("Page", "Runtime", "Log", "Network"):
        page.call(f"{domain}.enable")
    if address.startswith("file:"):
        page.call("Network.emulateNetworkConditions", offline=True, latency=0, downloadThroughput=0, uploadThroughput=0)
    page.call("Emulation.setDeviceMetricsOverride", width=1280, height=900, deviceScaleFactor=1, mobile=False)
    opened = [open_page(page, address) for _ in range(options.times)]
    loaded, drawn = min(time for time, _ in opened), min(time for _, time in opened)
    print(f"opens in {loaded:.2f} s, charts drawn after {drawn:.2f} s (the best of {options.times})")
    if options.most_seconds and loaded > options.most_seconds:
        found.append(f"opens in {loaded:.2f} s, more than {options.most_seconds:g}")
    for scheme in ("light", "dark"):
        page.call("Emulation.setEmulatedMedia", media="", features=[{"name": "prefers-color-scheme", "value": scheme}])
        page.value(DRAW_ALL)
        result = page.value(CONTRAST)
        print(f"{scheme}: {result['looked']} texts, {len(result['found'])} with too little contrast")
        found += [f"contrast, {scheme}: {entry}" for entry in result["found"]]
        screenshot(page, options.screenshots, scheme)
    operated = page.value(OPERATED)
    stops, wrong = tab_stops(page)
    print(f"{operated['count']} things to operate, {stops} stops of Tab tried")
    found += [f"no name: {entry}" for entry in operated["nameless"]] + wrong
    if operated["count"] and not stops:
        found.append("keyboard: Tab reaches nothing")
    page.call("Emulation.setDeviceMetricsOverride", width=360, height=740, deviceScaleFactor=2, mobile=True)
    time.sleep(0.3)
    wide = page.value("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    screenshot(page, options.screenshots, "phone")
    if wide > 0:
        found.append(f"phone: {wide} pixels wider than 360: {page.value(WIDEST)}")
    page.call("Emulation.setDeviceMetricsOverride", width=1280, height=900, deviceScaleFactor=1, mobile=False)
    page.call("Emulation.setEmulatedMedia", media="print", features=[])
    left = page.value("[...document.querySelectorAll('button, input')].filter(e => e.getClientRects().length).length")
    clipped = page.value("[...document.querySelectorAll('.scroll')].filter(e => e.scrollHeight > e.clientHeight + 1).length")
    if left:
        found.append(f"print: {left} controls on paper")
    if clipped:
        found.append(f"print: {clipped} tables cut off")
    screenshot(page, options.screenshots, "print")
    return found + list(dict.fromkeys(complaints_of(page)))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("page", help="file, or address of a live page on this machine")
    parser.add_argument("--most-seconds", type=float, default=0)
    parser.add_argument("--times", type=int, default=1, help="open it so often; the best counts")
    parser.add_argument("--screenshots", type=pathlib.Path)
    parser.add_argument("--chromium", default=shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome"))
    options = parser.parse_args()
    if not options.chromium:
        print("no Chromium here")
        return 3
    if options.screenshots:
        options.screenshots.mkdir(parents=True, exist_ok=True)
    address = options.page if "://" in options.page else pathlib.Path(options.page).resolve().as_uri()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        page = Page(options.chromium, profile)
        try:
            found = check(page, address, options)
        finally:
            page.close()
    for entry in found:
        print(entry)
    print(f"{len(found)} found")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
