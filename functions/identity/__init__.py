"""Who presents a token: reads it, verifies it, and says what it claims. Read it in this order:

    claims.py    Identity: what a verified token says
    errors.py    why nobody is let in
    form.py      bounds, and what parsers disagree about, before anything else
    keys.py      the key that a token names, by whoever may sign
    fetch.py     one bounded request for keys
    tokens.py    signature (PyJWT) and claims: from a token to an Identity

It imports no other package of this project, and knows nothing of AWS. Import from its modules: only
those that verify need cryptography, whose import would cost every function a part of its start.

What a token must be:

- Signed with `RS256`, `ES256` (P-256 alone) or `EdDSA` (Ed25519 alone) and a key of the JWKS, or
  with `HS256` and the secret. Each key is for one algorithm; its `use`, `alg` and `key_ops` are
  obeyed; one of RSA has 2048 to 8192 bits; one whose private part is published is not believed.
- Of the JWKS, the one key with its `kid`. Without a `kid`, the one key without: some issuers
  have a single one. Of two different keys with the same name and algorithm, neither.
- Of exactly our issuer, for our audience, which may be one of several strings.
- With a non-empty `sub`, with `iat`, `exp` and perhaps `nbf` as numbers, in its time with 30 s of
  leeway, and of a bounded life.
- No header that brings a key or changes what is signed, no type other than `JWT` and `at+jwt`.
- What it grants, within bounds: too much is refused, never cut.
"""
