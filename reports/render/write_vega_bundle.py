# SPDX-License-Identifier: Apache-2.0
"""Writes the Vega, Vega-Lite and Vega-Embed bundle of vl-convert to the file named by the argument (build time only)."""

import pathlib
import sys

import vl_convert

text = vl_convert.javascript_bundle()
if "</script" in text.lower() or "<!--" in text:
    sys.exit("the bundle would end the HTML script element it is put in")
pathlib.Path(sys.argv[1]).write_text(text, encoding="utf-8")
