"""A small S3 client of our own: Signature Version 4 over the guarded HTTP door, no redirects, no ambient credentials.

A user names the endpoint, so no library that resolves names by itself or follows redirects may be used here.
"""

from gristmill.connectors.s3.client import Head, S3Client, S3Error, Target
from gristmill.connectors.s3.documents import Listed, ListPage
from gristmill.connectors.s3.sigv4 import Keys

__all__ = ["Head", "Keys", "ListPage", "Listed", "S3Client", "S3Error", "Target"]
