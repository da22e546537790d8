"""Stand in for API Gateway's WebSocket APIs on one machine.

The parts, each in the file of its name; an arrow reads "uses"::

    __main__ ─> options                  the command line
       └──────> gateway                  handshakes, messages and ends of connections
                  ├─> connection         the one port: WebSocket or plain HTTP
                  ├─> management         @connections
                  ├─> api                what is read from apigatewayv2
                  ├─> lambdas            the Lambda API
                  ├─> authorizer         what an authorizer's answer means
                  ├─> routing, events    which route; which event
                  └─> throttle, faults   limits; faults on demand

Nothing here knows the application it serves, or which emulator is behind it.
"""
