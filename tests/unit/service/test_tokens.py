"""Which tokens are believed, and what they say."""

import hmac
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from joserfc import jws
from joserfc.jwk import ECKey, Key, OctKey, OKPKey, RSAKey
from joserfc.util import urlsafe_b64encode

from tests.support.stores import START
from tocsin_server.domain.access import END_USER_SCOPES, Principal
from tocsin_server.domain.errors import CredentialsExpired, CredentialsInvalid
from tocsin_server.domain.time import SECOND
from tocsin_server.service.tokens import TokenKeysUnusable, TokenRules, TokenVerifier

NOW_S = START // SECOND
SECRET = b"a secret of at least thirty-two bytes"
ANYWHERE = TokenRules()

RSA = RSAKey.generate_key(2048, {"kid": "rsa"})
EC = ECKey.generate_key("P-256", {"kid": "ec"})
EDWARDS = OKPKey.generate_key("Ed25519", {"kid": "edwards"})


def token(key: Key, algorithm: str, header: Mapping[str, Any] | None = None, **claims: Any) -> str:
    said = {"sub": "ada", "exp": NOW_S + 60} | claims
    payload = json.dumps({name: value for name, value in said.items() if value is not ...})
    return jws.serialize_compact({"alg": algorithm, **(header or {})}, payload, key, algorithms=[algorithm])


def secret_token(**claims: Any) -> str:
    return token(OctKey.import_key(SECRET), "HS256", **claims)


def key_set(*keys: Key, **parameters: str) -> bytes:
    return json.dumps({"keys": [key.as_dict(private=False) | parameters for key in keys]}).encode()


@pytest.fixture
def secret_file(tmp_path: Path) -> Path:
    path = tmp_path / "secret"
    path.write_bytes(SECRET + b"\n")
    return path


@pytest.fixture
def jwks_file(tmp_path: Path) -> Path:
    path = tmp_path / "jwks.json"
    path.write_bytes(key_set(RSA, EC, EDWARDS))
    return path


def test_a_token_speaks_for_its_subject_alone(secret_file: Path) -> None:
    principal = TokenVerifier(ANYWHERE, secret_file=secret_file).verify(secret_token(), START)
    assert principal == Principal(
        "default", "ada", END_USER_SCOPES, ("ada",), (), (NOW_S + 60) * SECOND, end_user=True
    )


def test_a_token_names_its_tenant(secret_file: Path) -> None:
    verifier = TokenVerifier(TokenRules(default_tenant="acme"), secret_file=secret_file)
    assert verifier.verify(secret_token(), START).tenant == "acme"
    assert verifier.verify(secret_token(tenant="zeta"), START).tenant == "zeta"


@pytest.mark.parametrize(
    ("key", "algorithm"),
    [(RSA, "RS256"), (RSA, "PS512"), (EC, "ES256"), (EDWARDS, "Ed25519")],
)
def test_public_keys_verify(jwks_file: Path, key: Key, algorithm: str) -> None:
    verifier = TokenVerifier(ANYWHERE, jwks_file=jwks_file)
    assert verifier.verify(token(key, algorithm), START).name == "ada"
    assert verifier.verify(token(key, algorithm, {"kid": key.kid}), START).name == "ada"


@pytest.mark.parametrize(
    ("claims", "why"),
    [
        ({"exp": ...}, "exp"),
        ({"exp": "soon"}, "exp"),
        ({"exp": True}, "exp"),
        ({"exp": 1e400}, "exp"),  # JSON says Infinity
        ({"exp": 10**400}, "exp"),  # more than a float can hold
        ({"nbf": NOW_S + 60}, "not valid yet"),
        ({"nbf": "now"}, "nbf"),
        ({"sub": ...}, "sub"),
        ({"sub": ""}, "sub"),
        ({"sub": 7}, "sub"),
        ({"sub": "a" * 129}, "sub"),
        ({"sub": "a\0"}, "sub"),
        ({"sub": "\ud800"}, "sub"),  # half a surrogate pair
        ({"sub": "*"}, "sub"),  # would be a pattern that everyone matches
        ({"sub": "ad*"}, "sub"),
        ({"tenant": 7}, "tenant"),
    ],
)
def test_claims_that_will_not_do(secret_file: Path, claims: dict[str, Any], why: str) -> None:
    verifier = TokenVerifier(ANYWHERE, secret_file=secret_file)
    with pytest.raises(CredentialsInvalid) as refused:
        verifier.verify(secret_token(**claims), START)
    assert why in refused.value.detail


def test_a_star_within_a_subject_is_just_a_star(secret_file: Path) -> None:
    verifier = TokenVerifier(ANYWHERE, secret_file=secret_file)
    assert verifier.verify(secret_token(sub="a*b"), START).recipients == ("a*b",)


def test_an_expired_token_is_told_apart(secret_file: Path) -> None:
    verifier = TokenVerifier(ANYWHERE, secret_file=secret_file)
    with pytest.raises(CredentialsExpired):
        verifier.verify(secret_token(exp=NOW_S), START)
    assert verifier.verify(secret_token(exp=NOW_S + 0.5), START).expire_time == START + SECOND // 2


def test_clocks_may_differ_a_little_at_the_beginning(secret_file: Path) -> None:
    verifier = TokenVerifier(ANYWHERE, secret_file=secret_file)
    assert verifier.verify(secret_token(nbf=NOW_S + 5), START).name == "ada"


@pytest.mark.parametrize(
    ("claims", "good"),
    [
        ({"iss": "https://id.example", "aud": "tocsin"}, True),
        ({"iss": "https://id.example", "aud": ["other", "tocsin"]}, True),
        ({"iss": "https://id.example", "aud": "other"}, False),
        ({"iss": "https://id.example"}, False),
        ({"iss": "https://evil.example", "aud": "tocsin"}, False),
        ({"aud": "tocsin"}, False),
    ],
)
def test_issuer_and_audience_are_checked_where_they_are_configured(
    secret_file: Path, claims: dict[str, Any], good: bool
) -> None:
    verifier = TokenVerifier(TokenRules("https://id.example", "tocsin"), secret_file=secret_file)
    if good:
        assert verifier.verify(secret_token(**claims), START).name == "ada"
    else:
        with pytest.raises(CredentialsInvalid):
            verifier.verify(secret_token(**claims), START)


def test_what_is_not_a_token_is_refused(secret_file: Path) -> None:
    verifier = TokenVerifier(ANYWHERE, secret_file=secret_file)
    deep = urlsafe_b64encode(b"[" * 6_000).decode()
    bad_header = urlsafe_b64encode(b'{"alg": ["HS256"]}').decode()
    for text in (
        "",
        ".",
        "..",
        "a.b.c",
        "é.b.c",
        "null.b.c",
        f"{deep}.b.c",
        f"{bad_header}.b.c",
        "x" * 8_000,
    ):
        with pytest.raises(CredentialsInvalid):
            verifier.verify(text, START)


def test_a_changed_token_is_refused(secret_file: Path) -> None:
    verifier = TokenVerifier(ANYWHERE, secret_file=secret_file)
    header, _, signature = secret_token().split(".")
    claims = urlsafe_b64encode(json.dumps({"sub": "eve", "exp": NOW_S + 60}).encode()).decode()
    with pytest.raises(CredentialsInvalid):
        verifier.verify(f"{header}.{claims}.{signature}", START)


def test_no_signature_is_no_signature(secret_file: Path, jwks_file: Path) -> None:
    verifier = TokenVerifier(ANYWHERE, secret_file=secret_file, jwks_file=jwks_file)
    claims = urlsafe_b64encode(json.dumps({"sub": "ada", "exp": NOW_S + 60}).encode()).decode()
    for algorithm in ("none", "None", ""):
        header = urlsafe_b64encode(json.dumps({"alg": algorithm}).encode()).decode()
        with pytest.raises(CredentialsInvalid):
            verifier.verify(f"{header}.{claims}.", START)


def test_a_public_key_is_never_taken_for_a_secret(jwks_file: Path) -> None:
    verifier = TokenVerifier(ANYWHERE, jwks_file=jwks_file)
    for public in (RSA.as_pem(private=False), RSA.as_der(private=False)):
        header = urlsafe_b64encode(json.dumps({"alg": "HS256", "kid": "rsa"}).encode()).decode()
        claims = urlsafe_b64encode(json.dumps({"sub": "ada", "exp": NOW_S + 60}).encode()).decode()
        mac = hmac.digest(public, f"{header}.{claims}".encode(), "sha256")
        with pytest.raises(CredentialsInvalid):
            verifier.verify(f"{header}.{claims}.{urlsafe_b64encode(mac).decode()}", START)


def test_a_key_is_used_as_it_says(tmp_path: Path) -> None:
    path = tmp_path / "jwks.json"
    path.write_bytes(key_set(RSA, alg="RS256"))
    verifier = TokenVerifier(ANYWHERE, jwks_file=path)
    assert verifier.verify(token(RSA, "RS256"), START).name == "ada"
    for other in (token(RSA, "PS256"), token(RSA, "RS256", {"kid": "another"}), secret_token()):
        with pytest.raises(CredentialsInvalid):
            verifier.verify(other, START)


def test_keys_without_an_id_are_all_tried(tmp_path: Path) -> None:
    path = tmp_path / "jwks.json"
    keys = [ECKey.generate_key("P-256") for _ in range(3)]
    path.write_bytes(key_set(*keys))
    assert b"kid" not in path.read_bytes()
    verifier = TokenVerifier(ANYWHERE, jwks_file=path)
    for key in keys:
        assert verifier.verify(token(key, "ES256", {"kid": "whatever"}), START).name == "ada"


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "Expecting value"),
        (b"{}", "is not a JSON Web Key Set"),
        (b"[]", "is not a JSON Web Key Set"),
        (b'{"keys": "none"}', "is not a JSON Web Key Set"),
        (b'{"keys": []}', "no key in it verifies signatures"),
        (key_set(RSA, use="enc"), "no key in it verifies signatures"),
        (key_set(OctKey.generate_key(256)), "a secret has a file of its own"),
        (key_set(ECKey.generate_key("secp256k1")), "are not used here"),
        (b'{"keys": [{"kid": "half", "kty": "RSA"}]}', "half: "),
    ],
    ids=["empty", "object", "list", "text", "no keys", "for encryption", "secret", "odd curve", "half a key"],
)
def test_a_key_set_that_cannot_be_used_is_refused_at_the_start(
    tmp_path: Path, content: bytes, why: str
) -> None:
    path = tmp_path / "jwks.json"
    path.write_bytes(content)
    with pytest.raises(TokenKeysUnusable, match=why):
        TokenVerifier(ANYWHERE, jwks_file=path)


def test_a_set_may_hold_keys_for_other_purposes(tmp_path: Path) -> None:
    path = tmp_path / "jwks.json"
    described = json.loads(key_set(EC))
    described["keys"] += json.loads(key_set(RSA, use="enc"))["keys"]
    described["keys"] += json.loads(key_set(ECKey.generate_key("secp256k1")))["keys"]
    described["keys"] += [{"kty": "of the future"}]
    path.write_text(json.dumps(described))
    verifier = TokenVerifier(ANYWHERE, jwks_file=path)
    assert verifier.verify(token(EC, "ES256"), START).name == "ada"
    with pytest.raises(CredentialsInvalid):
        verifier.verify(token(RSA, "RS256"), START)


def test_a_short_secret_is_refused_and_not_shown(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.write_bytes(b"hunter2")
    with pytest.raises(TokenKeysUnusable, match="at least 32 bytes") as refused:
        TokenVerifier(ANYWHERE, secret_file=path)
    assert "hunter2" not in str(refused.value)


def test_a_file_that_is_not_there_is_refused_by_its_name(tmp_path: Path) -> None:
    with pytest.raises(TokenKeysUnusable, match=r"none\.json: No such file"):
        TokenVerifier(ANYWHERE, jwks_file=tmp_path / "none.json")


def test_keys_are_renewed_while_the_server_runs(tmp_path: Path) -> None:
    path = tmp_path / "jwks.json"
    path.write_bytes(key_set(EC))
    verifier = TokenVerifier(ANYWHERE, jwks_file=path)
    assert not verifier.reload()
    path.write_bytes(key_set(RSA))
    assert verifier.reload()
    assert verifier.verify(token(RSA, "RS256"), START).name == "ada"
    with pytest.raises(CredentialsInvalid):
        verifier.verify(token(EC, "ES256"), START)


def test_a_file_that_goes_bad_leaves_the_keys_as_they_are(tmp_path: Path) -> None:
    path = tmp_path / "jwks.json"
    path.write_bytes(key_set(EC))
    verifier = TokenVerifier(ANYWHERE, jwks_file=path)
    path.write_text("{")
    assert not verifier.reload()
    assert verifier.verify(token(EC, "ES256"), START).name == "ada"
