"""The gateway's control, spoken to by the name that a client connected with."""

import asyncio
from typing import Any

from aiohttp import ClientError, ClientSession, ClientTimeout

from local.page.errors import Refused, Unavailable
from local.page.requests import Act

_TIMEOUT = ClientTimeout(total=5)


class GatewayControl:
    """The control at an address; see docs/local-gateway.md."""

    def __init__(self, session: ClientSession, url: str) -> None:
        self._session = session
        self._url = url

    async def faults(self) -> dict[str, Any]:
        return await self._ask("GET", "/faults")

    async def change_faults(self, changes: dict[str, Any]) -> dict[str, Any]:
        """Change some of the faults; return all."""
        return await self._ask("PATCH", "/faults", changes)

    async def connections(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = (await self._ask("GET", "/connections"))["connections"]
        return found

    async def act(self, action: str, act: Act) -> int:
        """Do something to every connection of a name; return to how many it was done."""
        ids = [each["id"] for each in await self.connections() if each["name"] == act.name]
        done = await asyncio.gather(*(self._act(each, action, act.details) for each in ids))
        return sum(done)

    async def _act(self, connection_id: str, action: str, details: dict[str, Any] | None) -> bool:
        try:
            await self._ask("POST", f"/connections/{connection_id}/{action}", details)
        except Refused as exc:
            # It has ended by itself meanwhile.
            if exc.code == "UnknownConnection":
                return False
            raise
        return True

    async def _ask(self, method: str, path: str, body: Any = None) -> dict[str, Any]:
        try:
            async with self._session.request(
                method, self._url + path, json=body, timeout=_TIMEOUT
            ) as response:
                answer: dict[str, Any] = await response.json()
        except (ClientError, TimeoutError, ValueError) as exc:
            raise Unavailable("The gateway's control does not answer.") from exc
        if response.status != 200:
            raise Refused(answer["message"], code=answer["code"], status=response.status)
        return answer
