#!/usr/bin/env python3
"""The page of `chorus serve` in a headless Chromium.

usage: page.py PATH_OF_CHORUS MODEL      (ends with 77 where there is no Chromium)
"""
import json
import os
import sys
import urllib.request

import browser
from served import Server

CHORUS, MODEL = sys.argv[1:3]
KEY = "a-key-of-20-letters!"
failures = []


def expect(condition, what):
    if not condition:
        failures.append(what)
        print("page.py:", what, file=sys.stderr)


def translated(server, text, key=None):
    """What the server says to a program."""
    return server.ask("/translate", {"q": text, "source": "xx", "target": "yy", "api_key": key})[1]["translatedText"]


def shows(page, text):
    """Until the page shows the translation, all of it."""
    page.until(f"document.getElementById('result').getAttribute('aria-busy') === 'false' && "
               f"[...document.querySelectorAll('.line')].map((line) => line.textContent).join('\\n') === {json.dumps(text)}")


def choose(page, name, value):
    page.evaluate(f"(() => {{ const one = document.getElementById('{name}'); one.value = '{value}'; one.dispatchEvent(new Event('change')); }})()")


def texts(page, server):
    page.open(server.url)
    page.until("document.getElementById('source').options.length === 3")
    choose(page, "source", "xx")
    expect(page.evaluate("document.getElementById('target').value") == "yy", "what xx is translated into")
    page.evaluate("document.getElementById('text').focus()")
    page.type("alpha beta")
    shows(page, translated(server, "alpha beta"))
    expect(page.evaluate("document.getElementById('counter').textContent").startswith("10 / "), "characters are counted")
    page.type("\n\ngamma delta")
    text = translated(server, "alpha beta\n\ngamma delta")
    shows(page, text)
    page.evaluate("document.getElementById('result').focus()")
    page.press("ArrowDown")
    page.until("document.querySelector('.line[aria-current]') === document.querySelector('.line')")
    page.press("ArrowDown")  # past the empty one
    page.until("document.querySelector('.line[aria-current]') === document.querySelectorAll('.line')[2]")
    old, other = page.evaluate("(() => { const one = document.querySelector('#alternatives-list button'); const was = document.querySelectorAll('.line')[2].textContent; "
                               "one.click(); return [was, document.querySelectorAll('.line')[2].textContent]; })()")
    expect(old != other and page.evaluate("document.querySelector('#alternatives-list button').textContent") == old, "another translation takes the place of one")
    page.press("S", "KeyS", 9)
    page.until("document.getElementById('source').value === 'yy' && document.getElementById('target').value === 'xx'")
    expect(page.evaluate("document.getElementById('text').value") == text.split("\n")[0] + "\n\n" + other, "swapped with what it shows")
    # What was typed since is not thrown away by swapping.
    page.evaluate("(() => { const one = document.getElementById('text'); one.value = 'gamma and more'; one.dispatchEvent(new Event('input')); })()")
    page.press("S", "KeyS", 9)
    expect(page.evaluate("document.getElementById('text').value") == "gamma and more", "swapped with text that is not translated yet")
    page.press("S", "KeyS", 9)
    # Separators of lines that JSON has as they are.
    with_separator = "alpha\u2028beta\u2029\n\ngamma"
    page.evaluate(f"(() => {{ const one = document.getElementById('text'); one.value = {json.dumps(with_separator)}; one.dispatchEvent(new Event('input')); }})()")
    page.until("document.getElementById('result').getAttribute('aria-busy') === 'false' && !document.getElementById('result').classList.contains('stale')")
    expect(page.evaluate("document.getElementById('error').hidden"), "U+2028 in a text: " + page.evaluate("document.getElementById('error').textContent"))
    # A text is a text: what looks like a tag is none.
    page.evaluate("document.getElementById('text').value = '<img src=x>'; document.getElementById('text').dispatchEvent(new Event('input'))")
    page.until("document.getElementById('result').getAttribute('aria-busy') === 'false' && document.getElementById('error').hidden")
    expect(page.evaluate("document.images.length") == 0, "no text becomes markup")


def documents(page, server):
    choose(page, "source", "xx")
    with open("letter.txt", "w") as file:
        file.write("alpha beta\ngamma\n")
    with open("picture.png", "wb") as file:
        file.write(b"\x89PNG")
    page.choose_files("#files", "letter.txt", "picture.png")
    link = page.until("document.querySelector('#document-list a')?.href")
    expect(link.endswith("/letter.yy.txt"), f"how the translation is called: {link}")
    with urllib.request.urlopen(link, timeout=60) as reply:
        expect(reply.read().decode() == translated(server, "alpha beta\ngamma\n"), "the document that was translated")
    expect("those are .txt" in page.evaluate("document.getElementById('document-list').lastChild.innerText"), "a picture is no document")


def meets_a_bad_server(page, server):
    """The server's replies are made up here."""
    answer = "window.fetch = async () => new Response({}, {{ status: {}, headers: {{ 'Content-Type': {} }} }})".format
    error = "document.getElementById('error').hidden ? '' : document.getElementById('error').textContent"
    page.open(server.url)
    page.until("document.getElementById('source').options.length === 3")
    page.evaluate("document.getElementById('text').value = 'alpha'; window.real = window.fetch")
    for body, status, kind, words in [("'<html>'", 502, "'text/html'", "answers 502"),
                                      ("'{\"error\":\"A page of another site asks\"}'", 403, "'application/json'", "another site"),
                                      ("'{\"error\":\"Too many connections\"}'", 503, "'application/json'", "Trying again")]:
        page.evaluate(answer(body, status, kind) + "; document.getElementById('text').dispatchEvent(new Event('input'))")
        page.until(f"({error}).includes('{words}')")
    expect(page.evaluate("document.getElementById('key-form').hidden"), "no key is asked for where none would help")
    # It is tried again when the server is there, whatever is typed meanwhile, and a file that is dropped does not open.
    page.evaluate("window.fetch = async () => { throw new TypeError('gone'); }; settings = {}; begin()")
    page.until(f"({error}).includes('cannot be reached')")
    opened = page.evaluate("(() => { const data = new DataTransfer(); data.items.add(new File(['alpha'], 'a.txt')); const one = new DragEvent('drop', "
                           "{ bubbles: true, cancelable: true, dataTransfer: data }); document.body.dispatchEvent(one); return !one.defaultPrevented; })()")
    expect(not opened, "a file that is dropped before the server answers")
    page.evaluate("document.getElementById('text').dispatchEvent(new Event('input')); window.fetch = window.real")
    page.until("!!settings.charLimit")


def copies(page, server):
    """Without navigator.clipboard, as for pages that came without TLS."""
    choose(page, "source", "xx")
    page.evaluate("document.getElementById('text').value = 'alpha beta\\n\\ngamma\\ndelta'; document.getElementById('text').dispatchEvent(new Event('input'))")
    text = translated(server, "alpha beta\n\ngamma\ndelta")
    shows(page, text)
    page.evaluate("Object.defineProperty(navigator, 'clipboard', { value: undefined }); "
                  "window.set = null; DataTransfer.prototype.setData = function(kind, what) { window.set = what; }")
    page.press("C", "KeyC", 9)
    expect(page.until("window.set") == text, "copied as it is, line ends too")
    choose(page, "source", "auto")
    page.evaluate("document.getElementById('text').value = '12 34'; document.getElementById('text').dispatchEvent(new Event('input'))")
    shows(page, "12 34")


def drops(page):
    choose(page, "source", "xx")
    page.evaluate("(() => { const data = new DataTransfer(); data.items.add(new File(['alpha beta'], '<script>\"x.txt')); for (const kind of ['dragover', 'drop']) "
                  "document.body.dispatchEvent(new DragEvent(kind, { bubbles: true, cancelable: true, dataTransfer: data })); })()")
    link = page.until("document.querySelector('#document-list li:last-child a')?.href")
    expect(link.endswith("/%3Cscript%3E%22x.yy.txt"), f"a document whose name has a quote: {link}")
    expect(page.evaluate("document.querySelector('#document-list li:last-child .name').textContent").startswith('\u2068<script>"x.txt\u2069 '), "its direction is its own")
    expect(page.evaluate("document.scripts.length === 1 && document.getElementById('drop').hidden"), "a name is a name")


def keys(page):
    with open("keys", "w") as file:
        file.write(KEY + "\n")
    os.chmod("keys", 0o600)
    server = Server(CHORUS, MODEL, "--keys", "keys")
    page.open(server.url)
    page.until("!document.getElementById('key-form').hidden")
    choose(page, "source", "xx")
    page.evaluate("document.getElementById('text').focus()")
    page.type("alpha beta")
    page.until("document.getElementById('error').textContent.includes('needs an API key')")
    page.evaluate(f"document.getElementById('key').value = '{KEY}\u200b'; document.getElementById('key-form').requestSubmit()")
    page.until("document.getElementById('error').textContent.includes('that no key has')")
    expect(page.evaluate("sessionStorage.getItem('chorus key') === null"), "a key that no header can have is not kept")
    page.evaluate(f"document.getElementById('key').value = '{KEY}'; document.getElementById('key-form').requestSubmit()")
    shows(page, translated(server, "alpha beta", KEY))
    expect(page.evaluate("JSON.stringify(localStorage).includes('20-letters')") is False, "the key is not kept for good")
    server.end()


def main():
    if not browser.program():
        print("page.py: there is no Chromium: skipped", file=sys.stderr)
        sys.exit(77)
    server = Server(CHORUS, MODEL)
    page = browser.Browser()
    try:
        texts(page, server)
        documents(page, server)
        drops(page)
        copies(page, server)
        meets_a_bad_server(page, server)
        keys(page)
        expect(not page.faults, f"what the page's script says: {page.faults}")
    finally:
        page.end()
        server.end()
    sys.exit(1 if failures else 0)


main()
