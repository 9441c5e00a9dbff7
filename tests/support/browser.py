"""Headless Chromium without a network: pages are opened, and clicked by a script put into them."""

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

OPTIONS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--disable-dev-shm-usage", "--hide-scrollbars", "--virtual-time-budget=20000",
    "--enable-logging=stderr", "--host-resolver-rules=MAP * ~NOTFOUND",
    "--proxy-server=127.0.0.1:1",
]  # fmt: skip

_SCRIPT = """<pre id="result"></pre><script>
const $ = (selector) => document.querySelector(selector);
const all = (selector) => [...document.querySelectorAll(selector)];
const key = (name) => document.dispatchEvent(new KeyboardEvent("keydown", {key: name}));
const pick = (selector, value) => { $(selector).value = value; $(selector).onchange(); };
try { $("#result").textContent = JSON.stringify((() => {%s})()); }
catch (error) { $("#result").textContent = JSON.stringify({error: String(error)}); }
</script>"""


def drive(chromium: str, page: Path, script: str, width: int = 1280, height: int = 900) -> Any:
    """Open a page with a script at its end; return what the script returns.

    Raises:
        AssertionError: The script failed, or the page wrote to the console.
    """
    driven = page.with_name("driven.html")
    text = page.read_text(encoding="utf-8")
    driven.write_text(text.replace("</html>", _SCRIPT % script + "</html>"), encoding="utf-8")
    done = _run(chromium, page.parent, width, height, "--dump-dom", driven.as_uri())
    driven.unlink()
    console = [
        line
        for line in done.stderr.splitlines()
        # a slow machine is none of the page's doing
        if ":CONSOLE" in line and "Slow network is detected" not in line
    ]
    assert not console, console
    found = re.search(r'<pre id="result">(.*?)</pre>', done.stdout, re.S)
    assert found, done.stdout[-2000:]
    result = json.loads(found[1].replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&"))
    assert not (isinstance(result, dict) and "error" in result), result
    return result


def _run(
    chromium: str, folder: Path, width: int, height: int, *arguments: str
) -> subprocess.CompletedProcess[str]:
    profile = f"--user-data-dir={folder / 'profile'}"
    size = f"--window-size={width},{height}"
    command = [chromium, *OPTIONS, profile, size, *arguments]
    isolated = ["unshare", "--map-root-user", "--net"]
    if shutil.which("unshare") and subprocess.run([*isolated, "true"], check=False).returncode == 0:
        command = [*isolated, *command]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return done
