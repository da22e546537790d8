"""Requests as signed bytes (AWS Signature Version 4).

botocore derives the key, hashes the payload and builds the headers anew for each request. Here
the key is derived once a day, a payload hashed once, and all text that requests have in common
written once a second, whatever their payloads: what is left per request is two hashes.

https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html
"""

import hmac
import re
import time
from collections.abc import Callable
from hashlib import sha256
from typing import Protocol
from urllib.parse import quote

from botocore.credentials import ReadOnlyCredentials

from management_api.endpoint import Endpoint
from management_api.request import Payload, Request

_ALGORITHM = "AWS4-HMAC-SHA256"
_SERVICE = "execute-api"
_PLAIN = re.compile(r"[A-Za-z0-9_.~=-]*")
_NOTHING = Payload(b"")


class Credentials(Protocol):
    """What a botocore session has: credentials that may rotate."""

    def get_frozen_credentials(self) -> ReadOnlyCredentials: ...


class Signer:
    """Signs for one API with the credentials of the moment."""

    def __init__(
        self,
        endpoint: Endpoint,
        region: str,
        credentials: Credentials,
        *,
        now: Callable[[], float] = time.time,
    ) -> None:
        """Prepare what can be prepared, the key included.

        Raises:
            BotoCoreError: there are no credentials to be had.
        """
        self._authority = endpoint.authority
        self._region = region
        self._credentials = credentials
        self._now = now
        # The path is encoded on the wire, and once more where it is signed.
        self._path = endpoint.path + "/@connections/"
        self._canonical_path = quote(self._path, safe="/~")
        self._derived_from: tuple[str | None, str] | None = None
        self._date(int(now()))

    def signed(self, request: Request) -> bytes:
        """Return the whole request, head and body.

        Raises:
            UnicodeEncodeError: the connection id has a lone surrogate.
            BotoCoreError: there are no credentials to be had.
        """
        second = int(self._now())
        if second != self._second:
            self._date(second)
        method, payload = "POST", request.payload
        if payload is None:
            method, payload = "DELETE", _NOTHING
        encoded = request.connection_id
        # What is left of API Gateway's own ids needs no `quote`, which takes as long as a hash.
        encoded = (
            encoded.replace("=", "%3D") if _PLAIN.fullmatch(encoded) else quote(encoded, safe="")
        )
        # Of what `quote` leaves, only the percent sign needs encoding once more.
        canonical = (
            f"{method}\n{self._canonical_path}{encoded.replace('%', '%25')}"
            f"{self._canonical_headers}{payload.hash}"
        )
        to_sign = self._to_sign_start + sha256(canonical.encode()).hexdigest()
        inner, outer = self._inner.copy(), self._outer.copy()
        inner.update(to_sign.encode())
        outer.update(inner.digest())
        signature = outer.hexdigest()
        head = (
            f"{method} {self._path}{encoded}{self._headers}{signature}\r\n"
            f"content-length: {len(payload.body)}\r\n\r\n"
        )
        return head.encode() + payload.body

    def _date(self, second: int) -> None:
        """Write what the requests of one second have in common.

        API Gateway refuses a signature whose time is off by more than five minutes, so the time
        cannot be that of the start of a run.
        """
        # Those that expire are refreshed by botocore here.
        keys = self._credentials.get_frozen_credentials()
        stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(second))
        date = stamp[:8]
        scope = f"{date}/{self._region}/{_SERVICE}/aws4_request"
        if self._derived_from != (keys.secret_key, date):
            key = f"AWS4{keys.secret_key}".encode()
            for part in scope.split("/"):
                key = hmac.digest(key, part.encode(), "sha256")
            # The two states of an HMAC with this key (RFC 2104). To copy them takes half the
            # time of `hmac.digest`.
            block = key.ljust(64, b"\0")
            self._inner = sha256(bytes(byte ^ 0x36 for byte in block))
            self._outer = sha256(bytes(byte ^ 0x5C for byte in block))
            self._derived_from = (keys.secret_key, date)
        headers = {"host": self._authority, "x-amz-date": stamp}
        if keys.token:
            headers["x-amz-security-token"] = keys.token
        names = ";".join(headers)
        lines = "".join(f"{name}:{value}\n" for name, value in headers.items())
        self._canonical_headers = f"\n\n{lines}\n{names}\n"
        self._to_sign_start = f"{_ALGORITHM}\n{stamp}\n{scope}\n"
        self._headers = (
            " HTTP/1.1\r\n"
            + "".join(f"{name}: {value}\r\n" for name, value in headers.items())
            + f"authorization: {_ALGORITHM} Credential={keys.access_key}/{scope}, "
            f"SignedHeaders={names}, Signature="
        )
        self._second = second
