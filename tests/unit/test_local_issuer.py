"""The tokens of the local run: whom it believes, its own key, and `make token`."""

import asyncio
import json
import stat
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import jwt
import pytest
from aiohttp import ClientSession, UnixConnector, web
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from identity.keys import JwksKeys
from identity.tokens import Rules, Verifier
from local import issuer, lines, token
from local.errors import LocalRunError
from local.issuer import Claims, Issuer, chosen, published_keys, signing_key
from local.page.server import PageServer

OWN = Issuer.own(3002)
NOW = 1_790_000_000
OUTPUTS = {
    "WebsocketUri": "ws://127.0.0.1:3001/v1",
    "AwsEndpointUrl": "http://127.0.0.1:4566",
    "EventBusName": "default",
    "PageUrl": "http://127.0.0.1:4002",
}
THEIRS = Issuer("https://login.example", "shop", "https://login.example/keys")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "issuer"


def claims_of(text: str) -> dict[str, Any]:
    claims: dict[str, Any] = jwt.decode(text, options={"verify_signature": False})
    return claims


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


# The key


def test_the_key_is_for_its_owner_alone_and_its_public_half_is_beside_it(folder: Path) -> None:
    key = signing_key(folder)

    assert mode_of(folder) == 0o700
    assert {path.name for path in folder.iterdir()} == {"key.pem", "jwks.json", "lock"}
    assert mode_of(folder / "key.pem") == 0o600
    assert json.loads(published_keys(folder).read_text()) == key.jwks()
    (published,) = key.jwks()["keys"]
    assert published.keys() == {"kty", "crv", "x", "y", "kid", "use", "alg"}


def test_the_key_is_the_same_in_every_run(folder: Path) -> None:
    assert signing_key(folder).jwks() == signing_key(folder).jwks()


def test_a_key_that_others_could_read_is_closed_to_them(folder: Path) -> None:
    before = signing_key(folder)
    (folder / "key.pem").chmod(0o644)

    assert signing_key(folder).jwks() == before.jwks()
    assert mode_of(folder / "key.pem") == 0o600


def pem_of(key: Any) -> bytes:
    pem: bytes = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    return pem


@pytest.mark.parametrize(
    "broken",
    [
        b"",
        b"-----BEGIN PRIVATE KEY-----\nMIG",
        b"\xff\xfe",
        pem_of(ec.generate_private_key(ec.SECP384R1())),
        pem_of(rsa.generate_private_key(65537, 2048)),
    ],
    ids=["empty", "cut", "no text", "another curve", "another kind"],
)
def test_what_is_no_such_key_is_replaced(folder: Path, broken: bytes) -> None:
    before = signing_key(folder).jwks()
    (folder / "key.pem").write_bytes(broken)

    after = signing_key(folder).jwks()

    assert after != before
    assert after["keys"][0]["crv"] == "P-256"
    assert signing_key(folder).jwks() == after
    assert mode_of(folder / "key.pem") == 0o600
    assert json.loads(published_keys(folder).read_text()) == after


def test_a_link_in_the_key_s_place_is_replaced_and_what_it_leads_to_stays(
    folder: Path, tmp_path: Path
) -> None:
    signing_key(folder)
    outside = tmp_path / "outside.pem"
    (folder / "key.pem").rename(outside)
    (folder / "key.pem").symlink_to(outside)
    before = outside.read_bytes()

    signing_key(folder)

    assert not (folder / "key.pem").is_symlink()
    assert outside.read_bytes() == before
    assert (folder / "key.pem").read_bytes() != before


def test_a_published_half_that_is_lost_or_another_s_is_written_again(folder: Path) -> None:
    key = signing_key(folder)
    published_keys(folder).write_text("{}")
    signing_key(folder)
    assert json.loads(published_keys(folder).read_text()) == key.jwks()
    published_keys(folder).unlink()

    signing_key(folder)

    assert json.loads(published_keys(folder).read_text()) == key.jwks()


def test_two_that_make_it_at_once_get_the_same(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    both_make_one = threading.Barrier(2)
    generate = ec.generate_private_key

    def generate_together(curve: ec.EllipticCurve) -> ec.EllipticCurvePrivateKey:
        # In vain, if the other waits for the first to have made it.
        with suppress(threading.BrokenBarrierError):
            both_make_one.wait(0.5)
        return generate(curve)

    monkeypatch.setattr(ec, "generate_private_key", generate_together)
    with ThreadPoolExecutor(2) as threads:
        one, other = threads.map(signing_key, [folder, folder])

    assert one.jwks() == other.jwks() == signing_key(folder).jwks()


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(LocalRunError, match=r"cannot be kept in .*/file/issuer"):
        signing_key(tmp_path / "file" / "issuer")


# Tokens


def test_a_token_is_accepted_by_what_the_functions_verify_with(folder: Path) -> None:
    minted = signing_key(folder).mint(
        OWN, Claims("bob", ("order-17", "shop/*"), tenant="acme", minutes=5)
    )
    keys = JwksKeys(OWN.keys_url, fetch=lambda _: published_keys(folder).read_bytes())

    identity = Verifier(keys, Rules(OWN.name, OWN.audience, tenant_claim="tenant")).verify(minted)

    assert (identity.user_id, identity.tenant) == ("bob", "acme")
    assert identity.grants == ("order-17", "shop/*")
    assert identity.expires_at - identity.issued_at == 300


def test_a_token_says_nothing_that_was_not_asked_for(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("local.issuer.time.time", lambda: NOW + 0.7)

    assert claims_of(signing_key(folder).mint(OWN, Claims())) == {
        "iss": "http://127.0.0.1:3002",
        "aud": "websocket-notifications",
        "sub": "alice",
        "iat": NOW,
        "exp": NOW + 3600,
        "entities": ["**"],
    }


@pytest.mark.parametrize(
    ("wanted", "variable"),
    [
        ({"user": " "}, "USER"),
        ({"user": "a\nb"}, "USER"),
        ({"user": "\udcff"}, "USER"),
        ({"user": "a" * 257}, "USER"),
        ({"tenant": "\x1b[31m"}, "TENANT"),
        ({"entities": ("order-17", "\x00")}, "ENTITIES"),
        ({"tenant": "a" * 129}, "TENANT"),
        ({"entities": ("order-17",) * 101}, "ENTITIES"),
        ({"minutes": 0}, "MINUTES"),
        ({"minutes": 1441}, "MINUTES"),
    ],
)
def test_what_no_token_can_say_is_refused_by_the_variable_s_name(
    wanted: dict[str, Any], variable: str
) -> None:
    with pytest.raises(LocalRunError, match=f"^{variable} "):
        Claims(**wanted)


def test_a_token_that_fits_no_request_is_not_minted(folder: Path) -> None:
    entities = tuple(f"order-{number:0200}" for number in range(40))

    with pytest.raises(LocalRunError, match="at most 8000: name fewer ENTITIES"):
        signing_key(folder).mint(OWN, Claims(entities=entities))


# Whom the stack believes


def test_without_auth_nobody_is_asked_for_a_token() -> None:
    assert chosen("", 3002, keys_url="", name="", audience="") is None


def test_the_own_issuer_is_the_page() -> None:
    own = chosen("jwt", 4002, keys_url="", name="", audience="")

    assert own
    assert own.parameters() == {
        "Authentication": "JWT",
        "TokenIssuer": "http://127.0.0.1:4002",
        "TokenAudience": "websocket-notifications",
        "TokenKeysUrl": "http://127.0.0.1:4002/.well-known/jwks.json",
    }


def test_somebody_else_s_issuer_is_taken_as_it_is() -> None:
    theirs = chosen(
        "jwt", 3002, keys_url=THEIRS.keys_url, name=THEIRS.name, audience=THEIRS.audience
    )

    assert theirs == THEIRS
    assert Issuer.of_outputs(OUTPUTS | THEIRS.outputs()) == THEIRS


@pytest.mark.parametrize("keys_url", ["https://a.example/keys?b=c", "http://127.0.0.1:8080/keys"])
def test_keys_are_fetched_where_nobody_can_change_them_on_the_way(keys_url: str) -> None:
    theirs = chosen("jwt", 3002, keys_url=keys_url, name="a", audience="b")

    assert theirs
    assert theirs.keys_url == keys_url


@pytest.mark.parametrize(
    ("auth", "given", "message"),
    [
        ("JWT", {}, "AUTH is 'JWT'.*AUTH=jwt"),
        ("yes", {}, "AUTH is 'yes'"),
        ("", {"audience": "shop"}, "make local AUTH=jwt AUDIENCE="),
        ("jwt", {"audience": "shop"}, "missing: JWKS_URL, ISSUER"),
        ("jwt", {"name": "a", "keys_url": "https://a.example"}, "missing: AUDIENCE"),
        ("jwt", {"name": "a", "audience": "b", "keys_url": "a.example/keys"}, "JWKS_URL is"),
        ("jwt", {"name": "a", "audience": "b", "keys_url": "file:///etc/passwd"}, "JWKS_URL is"),
        ("jwt", {"name": "a", "audience": "b", "keys_url": "http://[a"}, "JWKS_URL is"),
        ("jwt", {"name": "a", "audience": "b", "keys_url": "http://a.example/keys"}, "JWKS_URL is"),
        ("jwt", {"name": "a", "audience": "b", "keys_url": "https://u:p@a.example"}, "JWKS_URL is"),
        ("jwt", {"name": "a", "audience": "b", "keys_url": "https://a:b/"}, "JWKS_URL is"),
        ("jwt", {"name": "a b", "audience": "b", "keys_url": "https://a.example"}, "ISSUER has"),
        ("jwt", {"name": "a", "audience": 'b"', "keys_url": "https://a.example"}, "AUDIENCE has"),
    ],
)
def test_variables_that_do_not_fit_together_are_refused(
    auth: str, given: dict[str, str], message: str
) -> None:
    variables = {"keys_url": "", "name": "", "audience": "", **given}

    with pytest.raises(LocalRunError, match=message):
        chosen(auth, 3002, **variables)


# `make token`

Said = pytest.CaptureFixture[str]


def mint(folder: Path, *arguments: str) -> int:
    outputs = folder.with_name("outputs.json")
    return token.main(["--folder", str(folder), "--outputs", str(outputs), *arguments])


def runs(folder: Path, accepted: Issuer | None) -> None:
    """Leave the outputs that a running `make local` has written."""
    outputs = OUTPUTS | (accepted.outputs() if accepted else {})
    folder.with_name("outputs.json").write_text(json.dumps(outputs))


def test_the_token_alone_is_printed(folder: Path, capsys: Said) -> None:
    arguments = ("--user", "bob", "--entities", " order-17  shop/* ", "--tenant", "acme")

    assert mint(folder, *arguments, "--minutes", "5") == 0

    printed, said = capsys.readouterr()
    assert printed.count("\n") == 1
    claims = claims_of(printed.strip())
    assert (claims["sub"], claims["tenant"]) == ("bob", "acme")
    assert claims["entities"] == ["order-17", "shop/*"]
    assert claims["exp"] - claims["iat"] == 300
    assert "bob of acme may hear order-17 shop/* for 5 minutes." in said
    assert "make local does not run" in said
    assert printed.strip() not in said


def test_without_arguments_it_lets_alice_hear_everything(folder: Path, capsys: Said) -> None:
    assert mint(folder, "--user", "", "--entities", "", "--minutes", "") == 0

    claims = claims_of(capsys.readouterr().out.strip())
    assert (claims["sub"], claims["entities"]) == ("alice", ["**"])
    assert claims["exp"] - claims["iat"] == 3600
    assert "tenant" not in claims


def test_without_a_run_it_is_for_the_page_s_port(folder: Path, capsys: Said) -> None:
    assert mint(folder, "--page-port", "5002") == 0

    assert claims_of(capsys.readouterr().out.strip())["iss"] == "http://127.0.0.1:5002"


def test_with_a_run_it_is_for_that_one(folder: Path, capsys: Said) -> None:
    runs(folder, Issuer.own(4002))

    assert mint(folder) == 0

    printed, said = capsys.readouterr()
    assert claims_of(printed.strip())["iss"] == "http://127.0.0.1:4002"
    assert "For ws://127.0.0.1:3001/v1" in said


def test_with_a_run_that_asks_nobody_it_says_so(folder: Path, capsys: Said) -> None:
    runs(folder, None)

    assert mint(folder) == 0

    printed, said = capsys.readouterr()
    assert claims_of(printed.strip())["iss"] == "http://127.0.0.1:4002"
    assert "runs without AUTH=jwt" in said


def test_for_somebody_else_s_issuer_it_mints_nothing(folder: Path, capsys: Said) -> None:
    runs(folder, THEIRS)

    assert mint(folder) == 1

    printed, said = capsys.readouterr()
    assert printed == ""
    assert "https://login.example, which cannot be minted here" in said
    assert not folder.exists()


@pytest.mark.parametrize("minutes", ["0", "-5", "1441", "1e2", "ten", "٣", "9" * 5000, "1.5"])
def test_minutes_that_are_none_are_refused(folder: Path, capsys: Said, minutes: str) -> None:
    assert mint(folder, f"--minutes={minutes}") == 1

    printed, said = capsys.readouterr()
    assert printed == ""
    assert "MINUTES is" in said
    assert "1 to 1440" in said


def test_outputs_that_cannot_be_read_are_named(folder: Path, capsys: Said) -> None:
    folder.with_name("outputs.json").write_text("{")

    assert mint(folder) == 1

    assert "outputs.json cannot be read" in capsys.readouterr().err


# What is printed, and what the page hands out


def test_wscat_gets_the_token_as_its_second_subprotocol() -> None:
    plain = "npx wscat -c ws://127.0.0.1:3001/v1 -s websocket"

    assert lines.wscat(OUTPUTS) == plain
    assert lines.wscat(OUTPUTS | Issuer.own(4002).outputs()) == f"{plain} -s $(make -s token)"
    assert lines.wscat(OUTPUTS | THEIRS.outputs()) == f"{plain} -s TOKEN"


Fetcher = Callable[..., tuple[int, bytes]]


@pytest.fixture
def fetch(folder: Path, tmp_path: Path) -> Fetcher:
    """Ask the page's server for the keys, by a socket that is a file."""

    def fetch(keys: Path | None, host: str = "127.0.0.1:4002") -> tuple[int, bytes]:
        return asyncio.run(ask(keys, host))

    async def ask(keys: Path | None, host: str) -> tuple[int, bytes]:
        unused: Any = None
        path = str(tmp_path / "page")
        runner = web.AppRunner(PageServer(4002, OUTPUTS, unused, unused, keys).app())
        await runner.setup()
        await web.UnixSite(runner, path).start()
        try:
            async with (
                ClientSession(connector=UnixConnector(path)) as session,
                session.get(f"http://{host}{issuer.KEYS_PATH}") as response,
            ):
                return response.status, await response.read()
        finally:
            await runner.cleanup()

    return fetch


def test_the_page_hands_out_the_public_half(folder: Path, fetch: Fetcher) -> None:
    key = signing_key(folder)

    status, body = fetch(published_keys(folder))

    assert status == 200
    assert json.loads(body) == key.jwks()


def test_the_page_hands_out_no_keys_when_it_has_none(folder: Path, fetch: Fetcher) -> None:
    assert fetch(None)[0] == 404
    assert fetch(published_keys(folder))[0] == 404


def test_the_keys_are_not_for_a_name_that_leads_here(folder: Path, fetch: Fetcher) -> None:
    signing_key(folder)

    assert fetch(published_keys(folder), "evil.example:4002")[0] == 403
