"""Lead enrichment: any lead file in, what is known about each lead out, and only matches are paid for.

A job is a batch whose agent is the lead enricher. This room adds what comes before it (upload, columns to fields, an
anonymous upload's token) and after it (the flat CSV), the runtime `lead` with its providers, and what it remembers of
their answers.
"""
