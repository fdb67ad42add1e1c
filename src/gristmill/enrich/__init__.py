"""Lead enrichment: any lead file in, what is known about each lead out, and only matches are paid for.

A job is a batch whose agent is the lead enricher. This room adds what comes before it (upload, columns to fields, an
anonymous upload's token) and after it (the flat CSV), the runtime `lead` with its providers, and what it remembers of
their answers.
"""

from gristmill.enrich.download import flat_csv, original_csv
from gristmill.enrich.expire import forget
from gristmill.enrich.model import Job, JobMapping, JobQuote, Preview, UploadReceipt, UploadRefused
from gristmill.enrich.service import (
    ORIGIN,
    Prepared,
    Uploaded,
    Wishes,
    columns_of,
    create,
    get,
    lead_agent,
    link,
    list_jobs,
    prepare,
    preview,
    quote,
    start,
)

__all__ = [
    "ORIGIN",
    "Job",
    "JobMapping",
    "JobQuote",
    "Prepared",
    "Preview",
    "UploadReceipt",
    "UploadRefused",
    "Uploaded",
    "Wishes",
    "columns_of",
    "create",
    "flat_csv",
    "forget",
    "get",
    "lead_agent",
    "link",
    "list_jobs",
    "original_csv",
    "prepare",
    "preview",
    "quote",
    "start",
]
