"""Signed requests (AWS Signature Version 4).

botocore derives the key, hashes the payload and builds the headers anew for each request. Here
the key is derived once a day, the payload hashed once a fan-out, and all text that requests have
in common written once a second: what is left per request is two hashes.

https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html
"""

import hmac
import time
from collections.abc import Callable
from hashlib import sha256
from typing import Protocol
from urllib.parse import quote

from botocore.credentials import ReadOnlyCredentials

from push.adapters.posting.endpoint import Endpoint

_ALGORITHM = "AWS4-HMAC-SHA256"
_SERVICE = "execute-api"


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
        self.endpoint = endpoint
        self.now = now
        self._region = region
        self._credentials = credentials
        self._derived_from: tuple[str | None, str] | None = None
        self._key = b""

    def keys(self) -> ReadOnlyCredentials:
        """Return the current credentials; those that expire are refreshed by botocore here."""
        return self._credentials.get_frozen_credentials()

    def scope(self, date: str) -> str:
        return f"{date}/{self._region}/{_SERVICE}/aws4_request"

    def key(self, secret_key: str | None, date: str) -> bytes:
        """Return the signing key of a day."""
        if self._derived_from != (secret_key, date):
            key = f"AWS4{secret_key}".encode()
            for part in self.scope(date).split("/"):
                key = hmac.digest(key, part.encode(), "sha256")
            self._key, self._derived_from = key, (secret_key, date)
        return self._key


class PostRequests:
    """The requests that post one payload, each signed for its connection."""

    def __init__(self, signer: Signer, payload: bytes) -> None:
        self._signer = signer
        self._payload = payload
        self._payload_hash = sha256(payload).hexdigest()
        # The path is encoded on the wire, and once more where it is signed.
        path = signer.endpoint.path + "/@connections/"
        self._request_start = f"POST {path}"
        self._canonical_start = f"POST\n{quote(path, safe='/~')}"
        self._second = -1

    def to(self, connection_id: str) -> bytes:
        """Return the whole request to one connection, head and body.

        Raises:
            UnicodeEncodeError: the id has a lone surrogate.
            BotoCoreError: there are no credentials to be had.
        """
        second = int(self._signer.now())
        if second != self._second:
            self._date(second)
        encoded = quote(connection_id, safe="")
        # Of what `quote` leaves, only the percent sign needs encoding once more.
        canonical = self._canonical_start + encoded.replace("%", "%25") + self._canonical_end
        to_sign = self._to_sign_start + sha256(canonical.encode()).hexdigest()
        signature = hmac.digest(self._key, to_sign.encode(), "sha256").hex()
        head = self._request_start + encoded + self._request_middle + signature
        return head.encode() + self._request_end

    def _date(self, second: int) -> None:
        """Write what the requests of one second have in common.

        API Gateway refuses a signature whose time is off by more than five minutes, so the time
        cannot be that of the start of a fan-out.
        """
        keys = self._signer.keys()
        stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(second))
        date = stamp[:8]
        scope = self._signer.scope(date)
        signed = {"host": self._signer.endpoint.authority, "x-amz-date": stamp}
        if keys.token:
            signed["x-amz-security-token"] = keys.token
        names = ";".join(signed)

        self._canonical_end = "\n\n{headers}\n{names}\n{payload_hash}".format(
            headers="".join(f"{name}:{value}\n" for name, value in signed.items()),
            names=names,
            payload_hash=self._payload_hash,
        )
        self._to_sign_start = f"{_ALGORITHM}\n{stamp}\n{scope}\n"
        self._key = self._signer.key(keys.secret_key, date)
        self._request_middle = " HTTP/1.1\r\n{headers}{rest}".format(
            headers="".join(f"{name}: {value}\r\n" for name, value in signed.items()),
            rest=(
                f"content-length: {len(self._payload)}\r\n"
                f"authorization: {_ALGORITHM} Credential={keys.access_key}/{scope}, "
                f"SignedHeaders={names}, Signature="
            ),
        )
        self._request_end = b"\r\n\r\n" + self._payload
        self._second = second
