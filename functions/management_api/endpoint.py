"""Where the requests go: the address of the API with its stage, and TLS on the way there."""

# Sockets and TLS encode names with it, and would load it with the first request.
import encodings.idna  # noqa: F401
import os
import ssl
from dataclasses import dataclass
from urllib.parse import urlsplit

from botocore.httpsession import get_cert_path
from botocore.session import Session

_DEFAULT_PORTS = {"https": 443, "http": 80}


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A parsed `https://{api}.execute-api.{region}.{suffix}/{stage}`.

    `path` is the stage's, as it is sent, without a slash at its end.
    """

    scheme: str
    host: str
    port: int
    path: str

    @classmethod
    def parse(cls, url: str) -> "Endpoint":
        """Return the parts of `url`; raise `ValueError` if it is no http(s) address."""
        parts = urlsplit(url)
        if parts.scheme not in _DEFAULT_PORTS or not parts.hostname:
            raise ValueError(f"not an http or https address: {url!r}")
        port = parts.port or _DEFAULT_PORTS[parts.scheme]
        return cls(parts.scheme, parts.hostname, port, parts.path.rstrip("/"))

    @property
    def authority(self) -> str:
        """The value of the Host header: the port is part of it unless it is the scheme's own."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _DEFAULT_PORTS[self.scheme] else f"{host}:{self.port}"


def tls_context(session: Session) -> ssl.SSLContext:
    """Return a context that trusts what boto3 would trust.

    That is the profile's `ca_bundle` or AWS_CA_BUNDLE, then REQUESTS_CA_BUNDLE, then the bundle
    that botocore uses. Making one takes some 20 ms, so an engine makes it once.
    """
    bundle = session.get_config_variable("ca_bundle") or os.environ.get("REQUESTS_CA_BUNDLE")
    # Not `ssl.create_default_context`: from Python 3.13 on it refuses certificate authorities
    # that boto3 accepts, such as those of companies that inspect traffic.
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(cafile=bundle or get_cert_path(True))
    context.set_alpn_protocols(["http/1.1"])
    return context
