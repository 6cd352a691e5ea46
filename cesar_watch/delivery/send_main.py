"""The child process that talks to apprise; `delivery/send.py` starts it and kills it at the deadline.

Reads one JSON object on stdin: `url`, `deadline_s`, and `message` (`title`, `body`, `attach`), or null to
only check the URL. Exit status 0: sent, or valid; 1: not sent; 2: not a URL that apprise understands.
What apprise says goes to stderr. The only module that may import apprise.
"""

from __future__ import annotations

import json
import logging
import math
import os
import signal
import sys
from typing import Any

from apprise import Apprise, AppriseAsset, AppriseAttachment, NotifyFormat
from apprise.attachment.file import AttachFile

SENT, NOT_SENT, INVALID_URL = 0, 1, 2


def main() -> int:
    """Do what stdin asks for; return the exit status."""
    request = json.load(sys.stdin)
    # The parent may be gone by the deadline, and then nobody else ends this.
    signal.alarm(math.ceil(request["deadline_s"]) + 1)
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)
    asset = AppriseAsset(app_id="cesar-watch", app_desc="cesar-watch")
    # instantiate, not add: add would split one URL with a comma into several channels.
    service = Apprise.instantiate(request["url"], asset=asset)
    if service is None:
        return INVALID_URL
    if request["message"] is None:
        return SENT
    apprise = Apprise(asset=asset)
    apprise.add(service)
    return SENT if _notify(apprise, request["message"]) else NOT_SENT


def _notify(apprise: Apprise, message: dict[str, Any]) -> bool:
    attach = None
    if message["attach"] and os.path.isfile(message["attach"]):
        # As an object: apprise would read a path given as text as a URL.
        attach = AppriseAttachment()
        attach.add(AttachFile(message["attach"]))  # type: ignore[no-untyped-call]
    # Some services refuse an empty body.
    body = message["body"] or message["title"]
    return bool(apprise.notify(body=body, title=message["title"], body_format=NotifyFormat.TEXT, attach=attach))


if __name__ == "__main__":
    sys.exit(main())
