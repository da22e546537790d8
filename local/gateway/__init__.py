"""Stand in for API Gateway's WebSocket APIs on one machine.

The parts, each in the file of its name; an arrow reads "uses"::

    __main__ ─> options              the command line
       ├──────> control              changes faults and ends connections while it runs
       └──────> gateway              the port; messages and ends of connections
                  ├─> handshake      who is let in: stage, authorizer, $connect
                  ├─> management     @connections
                  ├─> connection     one TCP connection: WebSocket or plain HTTP
                  ├─> api            what is read from apigatewayv2
                  ├─> lambdas        what is invoked through the Lambda API
                  ├─> routing        which route a message takes
                  ├─> events         what functions and clients receive
                  ├─> refusals       what they receive when something is refused
                  ├─> throttle       the limits of a stage
                  ├─> faults         failures on demand
                  └─> runtime        what these share

Nothing here knows the application it serves, or which emulator is behind it.
"""
