"""Show on a page what the application does, and let a person try it.

The parts, each in the file of its name; an arrow reads "uses"::

    __main__ ─> server               who may ask, what for, and what is answered
                  ├─> requests       what a request may say
                  ├─> application    the bus, the table and the queues of the stack
                  ├─> control        the gateway's control: its faults and connections
                  ├─> tokens         what the page's clients show, if the issuer is the own one
                  ├─> lines          what to paste into a terminal
                  └─> errors         what cannot be done
    screenshot ─> browser            a headless Chromium that looks at the page

The page itself is `client/page`, as it is served. `make local` starts this; it is of use on this
machine only, where whoever may open the page may do all that it offers.
"""
