"""The one look of the pages."""

STYLE = """
:root { color-scheme: light; --ink: #191919; --faint: #6b6b6b; --paper: #fafaf8; --line: #d8d6d0;
  --accent: #2458a6; }
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink);
  font: 15px/1.45 system-ui, sans-serif; }
main { max-width: 1240px; margin: 0 auto; padding: 16px; }
h1 { font-size: 22px; margin: 0 0 8px; } h2 { font-size: 17px; margin: 24px 0 8px; }
p { max-width: 75ch; margin: 6px 0 10px; }
table { border-collapse: collapse; } th, td { padding: 4px 10px; border: 1px solid var(--line);
  text-align: left; } td.n { text-align: right; }
.wide { overflow-x: auto; margin: 0 0 10px; } .wide img { display: block; }
"""
