"""The contract of the service, made of the models in `functions/push/messages.py`.

    schemas.py          JSON Schema of the models
    examples.py         a conversation, of which the examples are taken
    about.md            what it says of the whole
    document.py         the AsyncAPI document, `asyncapi.yaml`
    versions.py         what a change needs
    registry.py         schemas of the events for EventBridge's registry, in `template.yaml`
    __main__.py         `make contract`: writes both

    node/               what needs the official tools: check, compare, render

A change of what goes over the wire needs another `VERSION`, and its line in
`docs/contract-changes.md`. `released.yaml` is the contract of the last release, which says how much
has changed: what breaks a client needs another major version.
"""

VERSION = "1.0.0"
