"""`make smoke`: whether a deployed stack does what it promises, in about a minute.

    __main__.py   what was asked for, and the exit status
    checks.py     each check, a function with a sentence for a name
    scene.py      what the checks share: ids of their own, clients, and what is cleaned up
    client.py     a WebSocket client
    stack.py      the stack: its outputs and parameters, its bus, queues, table and logs
    tokens.py     tokens, where the stack asks for them
    report.py     runs checks, and says plainly how each ended

It may run against a stack that others use, and beside itself. Entities, users and events have names
that nobody else uses (`smoke/<run>/...`); dead letters of others are looked at and made visible
again at once; whatever it makes it removes. What it cannot look at, for want of a permission, is
skipped and named.

What the caller needs: `cloudformation:DescribeStacks`, and `events:PutEvents` on the bus. For more:

    notification queue      sqs:SendMessage
    its dead-letter queue   sqs:ReceiveMessage, sqs:DeleteMessage, sqs:ChangeMessageVisibility
    table                   dynamodb:Query, dynamodb:DeleteItem (its keys begin with ENTITY#smoke,
                            USER#smoke or TENANT#smoke; CONNECTION# is read alone)
    logs of the functions   logs:FilterLogEvents, and cloudformation:ListStackResources to find them
    secret of the stack     secretsmanager:GetSecretValue
"""
