"""Make `dvc plots` pages that open without a network: .dvc/plots_offline.html.

DVC's own page loads Vega from a CDN. This one carries Vega, Vega-Lite and vega-embed inside, from
the locked package vl-convert-python; relative scripts would break once the page is moved. Git
ignores the file (0.9 MB), so the committed .dvc/config doesn't name it: .dvc/config.local does.
"""

import subprocess
import sys
from pathlib import Path

import vl_convert

from mammo.errors import UserError
from mammo.stage import run_stage
from mammo.storage.files import write_text

NAME = "plots_offline.html"
# The templates' schema is Vega-Lite 5; this is the newest 5 that vl-convert-python bundles.
VEGA_LITE = "5.21"
# What DVC fills in (dvc_render/html.py); each must stand in the page once, and not in the scripts.
PLOTS, REFRESH, SCRIPTS = "{plot_divs}", "{refresh_tag}", "{scripts}"

PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
  <meta charset="utf-8">
  <meta name="viewport" content="width=device-width, initial-scale=1">
  <title>Plots</title>
  {refresh_tag}
  <style>
    body { margin: 24px auto; max-width: 1500px; font-family: sans-serif; }
    /* vega-embed sets inline-block, which would put narrow charts side by side */
    body > div { display: block !important; margin: 0 0 36px; overflow-x: auto; }
  </style>
  <script>
BUNDLE
  </script>
</head>
<body>
{plot_divs}
</body>
</html>
"""


def main() -> None:
    """Write the page's template and switch it on for this checkout."""
    folder = Path(".dvc")
    if not folder.is_dir():
        raise UserError(".dvc: no such folder here; run from the repository's root")
    # The package's type stub wrongly demands the optional snippet.
    bundle = vl_convert.javascript_bundle(vl_version=VEGA_LITE)  # type: ignore[call-arg]
    write_text(offline_page(bundle), folder / NAME)
    # `python -m dvc`, so that the environment that runs this is the one that is configured.
    command = [sys.executable, "-m", "dvc", "config", "--local", "plots.html_template", NAME]
    subprocess.run(command, check=True)


def offline_page(bundle: str) -> str:
    """Put the scripts into the page that DVC fills.

    Raises:
        UserError: The scripts would end their own tag or be changed by DVC's filling in.
    """
    for text in ("</script", "<!--", PLOTS, REFRESH, SCRIPTS):
        if text in bundle.lower():
            raise UserError(
                f"vl-convert-python: its bundle must not hold {text!r}, or the page would break; "
                "install the version that requirements.txt names"
            )
    return PAGE.replace("BUNDLE", bundle)


if __name__ == "__main__":
    run_stage(main)
