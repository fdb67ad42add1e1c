"""The templates that agents are deployed from."""

from __future__ import annotations

from gristmill.agents.model import InputField, Retry, Template

_OBJECT = "object"

TEMPLATES: tuple[Template, ...] = (
    Template(
        slug="http-endpoint",
        title="Your own HTTP endpoint",
        description="Sends each row as JSON to a URL of yours and keeps the JSON that comes back: "
        "the way to attach an agent that you already run.",
        runtime="http",
        config={"url": "https://agents.example.com/run"},
        input_fields=[],
        needs="Set config.url to your endpoint.",
    ),
    Template(
        slug="clean-contacts",
        title="Clean contacts",
        description="Phone numbers to E.164, e-mails checked, web addresses to their domain. Offline and free.",
        runtime="python",
        config={"entry_point": "gristmill.agents.builtin.contacts:clean_contact", "options": {"region": "US"}},
        input_fields=[
            InputField("phone", description="Phone number in any form"),
            InputField("email", description="E-mail address"),
            InputField("website", description="Web address or host name"),
        ],
        output_schema={
            "type": _OBJECT,
            "properties": {
                "phone_e164": {"type": ["string", "null"]},
                "phone_valid": {"type": "boolean"},
                "phone_region": {"type": ["string", "null"]},
                "email_clean": {"type": ["string", "null"]},
                "email_valid": {"type": "boolean"},
                "domain": {"type": "string"},
            },
        },
        concurrency=16,
    ),
    Template(
        slug="website-check",
        title="Website check",
        description="Asks each website whether it answers, and notes its status, title and redirect.",
        runtime="python",
        config={"entry_point": "gristmill.agents.builtin.website:check_website"},
        input_fields=[InputField("website", required=True, description="Web address or host name")],
        output_schema={
            "type": _OBJECT,
            "properties": {
                "url": {"type": "string"},
                "status": {"type": "integer"},
                "title": {"type": ["string", "null"]},
                "redirects_to": {"type": ["string", "null"]},
            },
        },
        concurrency=32,
        retry=Retry(max_attempts=3, backoff=2.0),
        timeout_s=20.0,
    ),
    Template(
        slug="classify-by-keywords",
        title="Classify by keywords",
        description="Labels each text with the label whose keywords it names most. No model, no cost, repeatable.",
        runtime="python",
        config={
            "entry_point": "gristmill.agents.builtin.classify:classify",
            "options": {"labels": {"billing": ["invoice", "refund", "charge"], "login": ["password", "login", "2fa"]}},
        },
        input_fields=[InputField("text", required=True, description="Text to classify")],
        output_schema={
            "type": _OBJECT,
            "properties": {"label": {"type": "string"}, "score": {"type": "number"}, "hits": {"type": _OBJECT}},
        },
        needs="Set config.options.labels to your labels and their keywords.",
        concurrency=16,
    ),
    Template(
        slug="check-rows",
        title="Check rows against a schema",
        description="Says for each row whether it fits a JSON schema, and what is wrong with it.",
        runtime="python",
        config={
            "entry_point": "gristmill.agents.builtin.checks:check_row",
            "options": {"schema": {"type": _OBJECT, "required": ["email"]}},
        },
        input_fields=[],
        output_schema={
            "type": _OBJECT,
            "properties": {"valid": {"type": "boolean"}, "problems": {"type": "array"}},
        },
        needs="Set config.options.schema to the schema of your rows.",
        concurrency=16,
    ),
    Template(
        slug="echo",
        title="Echo (dry run)",
        description="Gives each row back as the agent would get it: a mapping at work before anything costs money.",
        runtime="python",
        config={"entry_point": "gristmill.agents.builtin.echo:echo"},
        input_fields=[],
        concurrency=64,
    ),
)
