#!/usr/bin/env python3
"""Records how transformers renders the templates beside this file, for the test that compares with it.

    $(python3 benches/python/environment.py mlx-lm) crates/run/tests/templates/record.py

The texts go to expected.json, one for each case of cases.json. Where a template raises, the message is recorded.
"""

import datetime
import json
from pathlib import Path

import jinja2
from transformers.utils import chat_template_utils

HERE = Path(__file__).resolve().parent
TOKENS = {"bos_token": "<s>", "eos_token": "</s>"}


class Fixed(datetime.datetime):
    """The clock of the templates: a Friday."""

    @classmethod
    def now(cls, tz=None):
        return cls(2026, 11, 6, 9, 5, 7)


def rendered(template: str, variables: dict) -> dict:
    """Returns the text, or the message of what was raised."""
    given = {"tools": None, "documents": None, "add_generation_prompt": False, **TOKENS, **variables}
    try:
        return {"text": chat_template_utils._compile_jinja_template(template).render(**given)}
    except jinja2.exceptions.TemplateError as error:
        return {"error": str(error)}


def main() -> None:
    """Renders every case."""
    chat_template_utils.datetime = Fixed
    cases = json.loads((HERE / "cases.json").read_text())
    found = []
    for case in cases:
        template = (HERE / "templates" / f"{case['template']}.jinja").read_text()
        found.append({"template": case["template"], **rendered(template, case["variables"])})
    (HERE / "expected.json").write_text(json.dumps(found, ensure_ascii=False, indent=1) + "\n")


if __name__ == "__main__":
    main()
