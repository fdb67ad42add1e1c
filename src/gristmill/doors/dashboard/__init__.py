"""The dashboard: pages rendered on the server, a little script on top, nothing from elsewhere.

`door.py` lets a browser in and answers its errors as pages; one file per subject gathers what its pages show;
`templates/` says how; `static/` holds style and scripts, served under their content's hash.
"""
