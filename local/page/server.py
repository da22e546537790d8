"""Serve the page, and what it asks for, to a browser on this machine and to nobody else.

A page of another site cannot use it: what changes something needs this page's own `Origin`, which a
browser does not let pages choose; what only reads cannot be read across origins; and a name that
somebody else leads to this machine is not answered.
"""

import asyncio
import re
import time
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

from aiohttp import web
from botocore.exceptions import BotoCoreError, ClientError

from local import lines
from local.aws import HOST
from local.issuer import KEYS_PATH, Issuer
from local.page import requests
from local.page.application import Application
from local.page.control import GatewayControl
from local.page.errors import BadRequest, Forbidden, PageError, TooBusy
from local.page.tokens import Tokens

ROOT = Path(__file__).parent.parent.parent
PAGE = ROOT / "client/page"
CLIENT = ROOT / "client/js/notifications-client.js"

T = TypeVar("T")
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

# Calls of the emulator at once, for all pages together: it is one process.
_CALLS = 2
# Of those, one publishes; so many more wait for it.
_PUBLICATIONS = 10
# Pages that ask for the same within this time see the same; and looking takes a fifth of the time
# at most, however full the table is.
_FRESH_SECONDS = 0.5
_REST = 4
_FILE = re.compile(r"[a-z][a-z-]*\.(html|css|js|svg)")
_TYPES = {
    "html": "text/html",
    "css": "text/css",
    "js": "text/javascript",
    "svg": "image/svg+xml",
}


class PageServer:
    """Answer the page's requests.

    Args:
        port: of this server, which a request must name.
        outputs: of the stack.
        keys: the file of public keys to hand out, if any.
        tokens: of the own issuer, if the stack takes those.
    """

    def __init__(
        self,
        port: int,
        outputs: Mapping[str, str],
        application: Application,
        control: GatewayControl,
        keys: Path | None = None,
        tokens: Tokens | None = None,
    ) -> None:
        self._hosts = (f"{HOST}:{port}", f"localhost:{port}")
        self._outputs = outputs
        self._application = application
        self._control = control
        self._accepted = Issuer.of_outputs(outputs)
        self._keys = keys
        self._tokens = tokens
        self._calls = asyncio.Semaphore(_CALLS)
        self._looking = asyncio.Lock()
        self._seen: dict[str, Any] = {}
        self._fresh_until = 0.0
        self._publishing = asyncio.Lock()
        self._publications = 0
        self._headers = {
            "Cache-Control": "no-store",
            "Content-Security-Policy": policy(outputs["WebsocketUri"]),
            "Cross-Origin-Opener-Policy": "same-origin",
            "Cross-Origin-Resource-Policy": "same-origin",
            "Referrer-Policy": "no-referrer",
            "X-Content-Type-Options": "nosniff",
        }

    def app(self) -> web.Application:
        app = web.Application(middlewares=[self._answer], client_max_size=requests.MAX_BODY_BYTES)
        app.add_routes(
            [
                web.get("/", self._file),
                web.get("/{name}", self._file),
                web.get(KEYS_PATH, self._published_keys),
                web.get("/api/configuration", self._configuration),
                web.get("/api/inside", self._inside),
                web.post("/api/publish", self._publish),
                web.post("/api/redrive", self._redrive),
                web.post("/api/trim", self._trim),
                web.patch("/api/faults", self._faults),
                *(web.post(f"/api/connections/{action}", self._act) for action in requests.ACTIONS),
                web.post("/api/token", self._token),
                web.post("/api/users/push", self._push),
                web.post("/api/users/disconnect", self._kick),
            ]
        )
        return app

    @web.middleware
    async def _answer(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Let nobody else in, say in JSON what cannot be done, and add what all answers have."""
        try:
            self._check_caller(request)
            response = await handler(request)
        except PageError as exc:
            response = _problem(exc.status, exc.code, str(exc))
        except (BotoCoreError, ClientError) as exc:
            response = _problem(503, "Unavailable", f"The emulator did not do it: {exc}")
        except web.HTTPException as exc:
            response = _problem(exc.status, exc.reason.replace(" ", ""), f"{exc.reason}.")
        response.headers.update(self._headers)
        return response

    def _check_caller(self, request: web.Request) -> None:
        """Raise `Forbidden` unless the request names this server, and comes from its page."""
        hosts = request.headers.getall("Host", [])
        if len(hosts) != 1 or hosts[0] not in self._hosts:
            raise Forbidden(f"Open http://{self._hosts[0]} instead.")
        if request.method in ("GET", "HEAD"):
            return
        if request.headers.getall("Origin", []) != [f"http://{hosts[0]}"]:
            raise Forbidden("Only the page of this server may ask for that.")
        if request.content_type != "application/json":
            raise Forbidden("The Content-Type must be application/json.")

    async def _file(self, request: web.Request) -> web.StreamResponse:
        name = request.match_info.get("name", "index.html")
        path = CLIENT if name == CLIENT.name else PAGE / name
        if not (match := _FILE.fullmatch(name)) or not path.is_file():
            raise web.HTTPNotFound
        # Read each time, so that an edit is seen at once.
        return web.Response(body=path.read_bytes(), content_type=_TYPES[match[1]], charset="utf-8")

    async def _published_keys(self, request: web.Request) -> web.StreamResponse:
        if self._keys is None or not self._keys.is_file():
            raise web.HTTPNotFound
        # Read each time: a key that was lost is made anew while this runs.
        return web.Response(body=self._keys.read_bytes(), content_type="application/json")

    async def _configuration(self, request: web.Request) -> web.Response:
        return web.json_response(
            {
                "websocketUri": self._outputs["WebsocketUri"],
                "endpointUrl": self._outputs["AwsEndpointUrl"],
                "eventBus": self._outputs["EventBusName"],
                "putEvents": lines.put_events(self._outputs),
                "wscat": lines.wscat(self._outputs),
                "maxEvents": requests.MAX_EVENTS,
                "authentication": self._accepted
                and {
                    "issuer": self._accepted.name,
                    "audience": self._accepted.audience,
                    "isOwn": self._tokens is not None,
                },
            }
        )

    async def _token(self, request: web.Request) -> web.Response:
        if self._tokens is None:
            raise web.HTTPNotFound
        tokens, wish = self._tokens, requests.wish(await _fields(request))
        return web.json_response({"token": await asyncio.to_thread(tokens.mint, wish)})

    async def _push(self, request: web.Request) -> web.Response:
        self._require_users()
        wanted = requests.push(await _fields(request))
        ids = await self._call(lambda: self._application.push(wanted.user_id, wanted.message))
        return web.json_response({"ids": ids})

    async def _kick(self, request: web.Request) -> web.Response:
        self._require_users()
        wanted = requests.kick(await _fields(request))
        ids = await self._call(
            lambda: self._application.kick(wanted.user_id, is_revoked=wanted.is_revoked)
        )
        return web.json_response({"ids": ids})

    def _require_users(self) -> None:
        """Raise `HTTPNotFound` where nobody needs a token, and so nobody is a user."""
        if self._accepted is None:
            raise web.HTTPNotFound

    async def _publish(self, request: web.Request) -> web.Response:
        wanted = requests.publication(await _fields(request))
        if self._publications == _PUBLICATIONS:
            raise TooBusy("Too much is being published already; try again in a moment.")
        self._publications += 1
        try:
            async with self._publishing:
                ids = await self._call(lambda: self._put(wanted))
        finally:
            self._publications -= 1
        return web.json_response({"ids": ids})

    def _put(self, wanted: requests.Publication) -> list[str]:
        if wanted.entity_id is None:
            return self._application.publish_poison()
        return self._application.publish(wanted.entity_id, wanted.count, wanted.message)

    async def _inside(self, request: web.Request) -> web.Response:
        async with self._looking:
            if time.monotonic() >= self._fresh_until:
                started = time.monotonic()
                self._seen = await self._look()
                now = time.monotonic()
                self._fresh_until = now + max(_FRESH_SECONDS, _REST * (now - started))
        # Always as they are now, or a change would seem undone.
        gateway = {
            "faults": await self._control.faults(),
            "connections": await self._control.connections(),
        }
        return web.json_response(self._seen | gateway)

    async def _look(self) -> dict[str, Any]:
        application = self._application
        return {
            "queues": await self._call(application.queues),
            "letters": await self._call(application.letters),
            "table": await self._call(application.items),
        }

    async def _redrive(self, request: web.Request) -> web.Response:
        requests.nothing(await _fields(request))
        return web.json_response({"redriven": await self._call(self._application.redrive)})

    async def _trim(self, request: web.Request) -> web.Response:
        entity_id = requests.trim(await _fields(request))
        deleted = await self._call(lambda: self._application.trim(entity_id))
        return web.json_response({"deleted": deleted})

    async def _faults(self, request: web.Request) -> web.Response:
        return web.json_response(await self._control.change_faults(await _fields(request)))

    async def _act(self, request: web.Request) -> web.Response:
        action = request.path.rpartition("/")[2]
        wanted = requests.act(action, await _fields(request))
        return web.json_response({"connections": await self._control.act(action, wanted)})

    async def _call(self, function: Callable[[], T]) -> T:
        """Call what waits for the emulator in a thread, when it is its turn."""
        async with self._calls:
            return await asyncio.to_thread(function)


def policy(websocket_uri: str) -> str:
    """Return the Content-Security-Policy: all from here, but for the WebSocket."""
    address = urlsplit(websocket_uri)
    return "; ".join(
        [
            "default-src 'self'",
            f"connect-src 'self' {address.scheme}://{address.netloc}",
            *("base-uri 'none'", "form-action 'none'", "frame-ancestors 'none'"),
            "object-src 'none'",
        ]
    )


async def _fields(request: web.Request) -> dict[str, Any]:
    try:
        return requests.parse(await request.read())
    except web.HTTPRequestEntityTooLarge as exc:
        raise BadRequest(
            "BodyTooLarge", f"A body has at most {requests.MAX_BODY_BYTES} bytes."
        ) from exc


def _problem(status: int, code: str, message: str) -> web.Response:
    return web.json_response({"code": code, "message": message}, status=status)
