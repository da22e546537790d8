"""Stand in for API Gateway's WebSocket APIs on one machine.

The parts, each in the file of its name; an arrow reads "uses"::

    __main__ ─> command, options     the command line
       ├──────> reader, supplement   what is read from apigatewayv2
       ├──────> certificates         what TLS is spoken with
       ├──────> deployment           deploys a stack; leftovers is what the emulator does not take
       ├──────> control              changes faults and ends connections while it runs
       └──────> gateway              the port; ends of connections
                  ├─> handshake      who is let in: stage, authorization, $connect
                  ├─> messages       what becomes of a message: routing, validation
                  ├─> management     @connections
                  ├─> connection     one TCP connection: TLS or not, WebSocket or plain HTTP
                  ├─> addressing     which API and stage a request is for
                  ├─> integrations   what a route asks: errors are how it may fail
                  ├─> lambdas        what is invoked through the Lambda API
                  ├─> events         what functions and clients receive
                  ├─> refusals       what they receive when something is refused
                  ├─> discretion     what the log may tell
                  ├─> throttle       the limits of a stage
                  ├─> faults         failures on demand
                  └─> runtime        what these share

Nothing here knows the application it serves, or which emulator is behind it.
"""
